"""One line: which lines are records, and why the others are not."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.transforms.attribution.parsing.record_lines import DECISION, REWARD, Raw, lines, values, written
from transforms.attribution.parsing import lines as module
from transforms.attribution.parsing.lines import Malformed, decoder_of, read_line
from transforms.attribution.parsing.schema import Decision, Reward

OPTIONAL = [field.name for field in msgspec.structs.fields(Decision) if not field.required]


def fault_of(kind: type[Decision] | type[Reward], record: dict[str, Any]) -> str:
    try:
        read_line(json.dumps(record).encode(), kind)
    except Malformed as error:
        return str(error)
    return ""


def read_or_none(text: bytes, kind: type[Decision] | type[Reward]) -> Decision | Reward | None:
    try:
        return read_line(text, kind)
    except Malformed:
        return None


def test_a_record_is_its_known_fields() -> None:
    record = read_line(json.dumps({**REWARD, "unknown": [1, {"a": None}]}).encode(), Reward)
    assert msgspec.structs.asdict(record) == {**REWARD, "received_at": None, "item_id": None, "position": None}


@pytest.mark.parametrize("first", ["1", '"x"', "[]", "1e400", "null"])
def test_the_last_of_two_values_counts(first: str) -> None:
    text = f'{{"value": {first}, ' + json.dumps({**REWARD, "value": 2})[1:]
    assert read_line(text.encode(), Reward) == read_line(json.dumps({**REWARD, "value": 2}).encode(), Reward)


def test_the_last_of_two_values_counts_inside_a_field() -> None:
    text = json.dumps(DECISION)[:-1] + ', "propensities": {"a": "x", "a": 0.5}}'
    assert json.loads(bytes(read_line(text.encode(), Decision).propensities)) == {"a": 0.5}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"\xff", "line is not UTF-8"),
        (b"{", "line is not JSON"),
        (b"[1]", "line is not a JSON object"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"value": 1e999}', "beyond float64"),
        (b'{"kind": "\\ud800"}', "half a surrogate pair"),
        (b"[" * 100_000 + b"]" * 100_000, "nested more than 254 deep"),
        (b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}", "nested more than 254 deep"),
        (b'{"a":' + b"[" * 254 + b"]" * 254 + b"}", "nested more than 254 deep"),
        (b'{"a":' + b"[" * 253 + b"]" * 253 + b"}", "missing required field `event_id`"),
        (b"\xef\xbb\xbf{}", "line is not JSON"),
    ],
)
def test_a_line_that_is_no_record_says_why(text: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        read_line(text, Reward)


@pytest.mark.parametrize("depth", [253, 254, 1_100, 100_000])
def test_a_record_is_nested_254_deep_at_most(depth: int) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        text = written({**DECISION, "unknown": Raw(opening * depth + "1" + closing * depth)}).encode()
        assert (read_or_none(text, Decision) is None) == (depth > 253)


@pytest.mark.parametrize("unknown", [b'"\xff"', b"1e400", b"[[1, {}]]", b'{"a": "\\u0000"}'])
def test_an_unknown_field_needs_only_be_balanced_json(unknown: bytes) -> None:
    text = json.dumps(REWARD).encode()[:-1] + b', "unknown": ' + unknown + b"}"
    assert read_line(text, Reward) == read_line(json.dumps(REWARD).encode(), Reward)


@pytest.mark.parametrize("unknown", [b"{]", b"[1,]", b'"a', b"tru", b"01", b'"\n"', b"-", b'{"a"}'])
def test_an_unknown_field_that_is_not_json_makes_the_line_malformed(unknown: bytes) -> None:
    assert read_or_none(json.dumps(REWARD).encode()[:-1] + b', "unknown": ' + unknown + b"}", Reward) is None


@pytest.mark.parametrize("number", ["1e3", "1.0", "-0.0", "1E0", "0.5", "9223372036854775808", "1" + "0" * 400])
def test_an_integer_is_written_as_one_and_has_64_bits(number: str) -> None:
    for name in ("policy_epoch", "snapshot_version", "model_version"):
        assert read_or_none(written({**DECISION, name: Raw(number)}).encode(), Decision) is None


@pytest.mark.parametrize(("number", "value"), [("-0", 0), ("1e3", 1000), ("1.0", 1), ("1E-6", 1e-6), ("0.10", 0.1)])
def test_a_number_may_be_written_in_any_way(number: str, value: float) -> None:
    assert read_line(written({**REWARD, "value": Raw(number)}).encode(), Reward).value == value


def test_null_is_as_good_as_absent() -> None:
    absent = read_line(json.dumps(DECISION).encode(), Decision)
    assert (
        read_line(json.dumps({**DECISION, "bot": None, "features": None, "items": None}).encode(), Decision) == absent
    )
    assert fault_of(Decision, {**DECISION, "segment": None}) == "Expected `str`, got `null` - at `$.segment`"


@pytest.mark.parametrize("size", [1, 1_024])
def test_an_id_has_up_to_1024_bytes(size: int) -> None:
    assert fault_of(Reward, {**REWARD, "kind": "x" * size}) == ""
    assert fault_of(Reward, {**REWARD, "kind": "x" * 1_025}) == "Expected `str` of length <= 1024 - at `$.kind`"
    assert fault_of(Reward, {**REWARD, "kind": "é" * 513}) == "kind has 1,026 bytes, more than 1,024"
    assert fault_of(Reward, {**REWARD, "kind": "é" * 512}) == ""


@pytest.mark.parametrize("text", ["a\0", "\r", "a\nb"])
def test_an_id_holds_no_line_end_and_no_nul(text: str) -> None:
    assert fault_of(Decision, {**DECISION, "arm_id": text}) == "arm_id holds NUL, CR or LF"
    assert fault_of(Decision, {**DECISION, "items": [text]}) == "items holds an id that holds NUL, CR or LF"


@pytest.mark.parametrize("name", ["arm_id", "rung", "decided_at"])
def test_half_a_surrogate_pair_is_no_text(name: str) -> None:
    assert fault_of(Decision, {**DECISION, name: "\ud800"}) == "line holds half a surrogate pair"


@given(micro=st.integers(-(10**15), 10**15))
def test_every_decimal_of_six_places_up_to_a_billion_is_a_value(micro: int) -> None:
    assert fault_of(Reward, {**REWARD, "value": micro / 10**6}) == ""
    assert round(micro / 10**6 * 10**6) == micro


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e-7, 0.1234567, math.nextafter(1, 2)])
def test_more_than_six_places_are_too_many(value: float) -> None:
    assert fault_of(Reward, {**REWARD, "value": value}) == "value has more than 6 decimal places"


@pytest.mark.parametrize("value", [10**9 + 1, -(10**9) - 1, 1e300, 10**400])
def test_a_value_beyond_a_billion_is_refused(value: float) -> None:
    assert fault_of(Reward, {**REWARD, "value": value}) != ""


@pytest.mark.parametrize("features", [[2**20], [-(2.0**20)], [], [0, 0.5]])
def test_features_are_numbers_of_at_most_a_million(features: list[float]) -> None:
    assert fault_of(Decision, {**DECISION, "features": features}) == ""
    assert "`float` <= 1048576.0" in fault_of(Decision, {**DECISION, "features": [*features, 2**20 + 1]})
    assert "Expected `float`, got `bool`" in fault_of(Decision, {**DECISION, "features": [*features, True]})


def test_ids_inside_a_list_are_ids() -> None:
    said = fault_of(Decision, {**DECISION, "items": ["a", ""]})
    assert said == "Expected `str` of length >= 1 - at `$.items[1]`"


@given(line=lines(DECISION, OPTIONAL))
@example(line=written({**DECISION, "context": {"a": Raw("1" + "0" * 400)}}).encode())
def test_pythons_parser_accepts_only_what_is_read_and_reads_the_same(line: bytes) -> None:
    """The decoder alone may accept more, in unknown fields."""
    try:
        expected = module._read_plain(line, Decision)
    except Malformed:
        return
    read = read_line(line, Decision)
    for name in Decision.__struct_fields__:
        one, other = getattr(read, name), getattr(expected, name)
        if isinstance(one, msgspec.Raw):
            one, other = json.loads(bytes(one)), json.loads(bytes(other))
        assert one == other


@given(value=values, name=st.sampled_from(Decision.__struct_fields__))
def test_a_known_field_is_read_alike_by_both_parsers(value: object, name: str) -> None:
    text = written({**DECISION, name: value}).encode("utf-8", "surrogatepass").replace(b"\n", b"")
    try:
        decoder_of(Decision).decode(text)
    except Exception:
        return
    one = read_or_none(text, Decision)
    try:
        other = module._read_plain(text, Decision)
    except Malformed:
        other = None
    assert (one is None) == (other is None)
