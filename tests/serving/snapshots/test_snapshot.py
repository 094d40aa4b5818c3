"""What a router reads in a snapshot, and which snapshots it refuses."""

from __future__ import annotations

import json
import math

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.reward_stream.publishing.snapshot import Content, document
from serving_client.contracts.bandits_document import bandits_of
from serving_client.contracts.schemas import load
from serving_client.snapshots.fields import SnapshotError
from serving_client.snapshots.json_pieces import JsonPieces
from serving_client.snapshots.snapshot import Decayed, Hour, parse_in_steps, parse_snapshot
from tests.serving.snapshots.documents import HOUR_US, NOW_US, packed, published, row, snapshot
from transforms.attribution.rules import Label
from transforms.attribution.statistics.rows import Lin, RowSums, row_document

LIN = {"schema": "ab", "d": 2, "xtx": packed([4.0, 0.5, 9.0]), "xtr": packed([1.0, -2.0])}


def test_the_documents_of_these_tests_are_snapshots() -> None:
    jsonschema.Draft202012Validator(load("snapshot")).validate(snapshot(arms=[row(lin=LIN)]))


def test_every_number_of_a_snapshot_is_read() -> None:
    stopped = {"arm": "vae", "generation": 3, "reason": "ctr", "at": "2026-11-24T06:00:00Z"}
    parsed = parse_snapshot(published(7, arms=[row("cf", "free", lin=LIN)], rolled_back=[stopped]))
    assert (parsed.bandit_id, parsed.version, parsed.policy_epoch) == ("home_row", 7, 1)
    assert (parsed.published_at_us, parsed.watermark_us) == (NOW_US, NOW_US - 5_000_000)
    assert parsed.config_hash == "0" * 64
    assert parsed.rolled_back == {("vae", 3)}
    read = parsed.rows["free", "cf", 1]
    assert (read.n, read.sum_r, read.sum_r2, read.pending, read.fallbacks) == (10, 3, 2.5, 4, 1)
    start_us = NOW_US // HOUR_US * HOUR_US
    assert read.kinds == {"click": 3}
    assert read.decayed == {"1h": Decayed(start_us, 5.5, 1.25, 1.0)}
    assert list(read.hours) == [Hour(start_us - 2 * HOUR_US, 1, 0, 0.25), Hour(start_us - HOUR_US, 2, 0.5, 0.25)]
    assert list(read.hours[1:]) == [read.hours[1]]
    assert read.ipw == {"n": 10, "sum_w": 20, "sum_w2": 40, "sum_wr": 6, "sum_w2r2": 12, "missing": 0}
    assert read.lin is not None
    assert (read.lin.schema, read.lin.d) == ("ab", 2)
    np.testing.assert_array_equal(read.lin.xtx, [[4.0, 0.5], [0.5, 9.0]])
    np.testing.assert_array_equal(read.lin.xtr, [1.0, -2.0])


def test_what_the_stream_writes_is_read() -> None:
    """X'X of the decision [1, 2, 0.5] with reward 3, in the stream's units: its outer product, and three times x."""
    features = [{"name": name, "type": "numeric", "scale": 1, "max": 9, "from": "user"} for name in "abc"]
    content = {
        "policy_epoch": 1,
        "default_arm": "cf",
        "arms": {"cf": {"generation": 1, "model": "cf"}},
        "policy": {"kind": "linucb"},
        "attribution": {"window": "30m", "allowed_lateness": "1h", "reward_kinds": ["click"]},
        "features": features,
    }
    bandit = bandits_of({"bandits": {"b": content}}, "bandits.yaml").bandits["b"]
    x = np.array([1.0, 2.0, 0.5])
    upper = np.outer(x, x)[np.triu_indices(3)]
    lin = Lin("", [int(value * 2**20) for value in upper], [int(value * 2**10 * 3_000_000) for value in x])
    sums = RowSums(n=1, sum_r=3_000_000, sum_r2=9 * 10**12, lin=lin)
    written = row_document(Label("b", 1, "*", "cf", 1), sums, 0, None, None, bandit)
    published_content = Content("b", 1, "0" * 64, -(2**62), False, {}, [written])
    parsed = parse_snapshot(document(published_content, 5, NOW_US))
    assert parsed.watermark_us is None
    read = parsed.rows["*", "cf", 1]
    assert (read.n, read.sum_r, read.sum_r2) == (1, 3, 9)
    assert read.lin is not None
    np.testing.assert_array_equal(read.lin.xtx, np.outer(x, x))
    np.testing.assert_array_equal(read.lin.xtr, 3 * x)


def test_unknown_fields_and_arms_are_no_fault() -> None:
    parsed = parse_snapshot(published(arms=[row("gone", future=[1])], future={"a": [{}]}))
    assert list(parsed.rows) == [("*", "gone", 1)]
    assert not parse_snapshot(published(arms=[])).rows


def hour(**changes: object) -> dict[str, object]:
    return {"start": "2026-11-24T06:00:00Z", "n": 1, "sum_r": 1.0, "sum_r2": 1.0} | changes


@pytest.mark.parametrize(
    ("arm", "says"),
    [
        ({"n": -1}, "arms[0].n: is -1 and must be at least 0"),
        ({"n": 2**53 + 1}, "arms[0].n: is 9007199254740993 and must be at least 0 and at most 2^53"),
        ({"n": 1.5}, "arms[0].n: is 1.5 and must be an integer"),
        ({"n": True}, "arms[0].n: is True and must be an integer"),
        ({"pending": -1}, "arms[0].pending: is -1"),
        ({"fallbacks": -1}, "arms[0].fallbacks: is -1"),
        ({"kinds": {"click": -1}}, "arms[0].kinds.click: is -1"),
        ({"kinds": []}, "arms[0].kinds: must be an object"),
        ({"sum_r": math.nan}, "arms[0].sum_r: is nan and must be a finite number"),
        ({"sum_r": -math.inf}, "arms[0].sum_r: is -inf and must be a finite number"),
        ({"sum_r": 10**400}, "arms[0].sum_r: is 1000"),
        ({"sum_r": "3"}, "arms[0].sum_r: is '3' and must be a finite number"),
        ({"sum_r2": -0.5}, "arms[0].sum_r2: is -0.5 and must be at least 0"),
        ({"segment": None}, "arms[0].segment: is None and must be a string"),
        ({"hours": {}}, "arms[0].hours: must be an array"),
        ({"hours": [hour(n=-1)]}, "arms[0].hours[0].n: is -1"),
        ({"hours": [hour(start="noon")]}, "arms[0].hours[0].start: 'noon' is not an RFC 3339 UTC time"),
        ({"hours": [hour(), hour()]}, "arms[0].hours: is not in ascending order"),
        ({"hours": [3]}, "arms[0].hours[0]: is not an object"),
        ({"decayed": {"1h": {"w": 1}}}, "arms[0].decayed.1h.reference_time: is missing"),
        (
            {"decayed": {"1h": {"reference_time": None, "w": math.nan, "w_r": 0, "w_r2": 0}}},
            "arms[0].decayed.1h.w: is nan",
        ),
        ({"ipw": {"sum_w": math.inf}}, "arms[0].ipw.sum_w: is inf"),
        ({"lin": LIN | {"xtx": packed([4.0, math.nan, 9.0])}}, "arms[0].lin.xtx: holds a number that is not finite"),
        ({"lin": LIN | {"xtx": packed([4.0, 0.5])}}, "arms[0].lin.xtx: has 16 bytes, and 3 numbers take 24"),
        ({"lin": LIN | {"xtx": packed([4.0, 0.5, -9.0])}}, "arms[0].lin.xtx: has a negative sum of squares"),
        ({"lin": LIN | {"xtr": "@"}}, "arms[0].lin.xtr: is not base64"),
        ({"lin": LIN | {"d": 0}}, "arms[0].lin.d: is 0 and must be at least 1"),
        ({"lin": LIN | {"d": 10**9}}, "arms[0].lin.xtx: has 24 bytes"),
        ({"lin": {}}, "arms[0].lin.d: is missing"),
    ],
)
def test_a_row_that_cannot_be_is_refused(arm: dict[str, object], says: str) -> None:
    with pytest.raises(SnapshotError) as caught:
        parse_snapshot(json.dumps(snapshot(arms=[row(**arm)])).encode())
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema_version": 2}, "schema_version is 2, and this release reads 1; upgrade recbeam"),
        ({"version": "7"}, "version: is '7' and must be an integer"),
        ({"published_at": None}, "published_at: is None and must be a string"),
        ({"watermark": "never"}, "watermark: 'never' is not an RFC 3339 UTC time"),
        ({"arms": {}}, "is not JSON (character"),
        ({"arms": [row(), row()]}, "arms[1]: repeats segment '*', arm 'cf'"),
        ({"arms": [[]]}, "arms[0]: is not an object"),
        ({"rolled_back": ["cf"]}, "rolled_back[0]: is not an object"),
    ],
)
def test_a_document_that_is_no_snapshot_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(SnapshotError) as caught:
        parse_snapshot(published(**changes))  # type: ignore[arg-type]
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize("key", ["schema_version", "bandit_id", "arms", "watermark", "policy_epoch", "rolled_back"])
def test_a_missing_field_is_named(key: str) -> None:
    content = snapshot()
    del content[key]
    with pytest.raises(SnapshotError, match=key):
        parse_snapshot(json.dumps(content).encode())


def test_a_snapshot_torn_anywhere_is_refused() -> None:
    whole = published(arms=[row(hour_count=1)])
    for size in range(len(whole)):
        with pytest.raises(SnapshotError):
            parse_snapshot(whole[:size])
    for data in (whole + b"x", b"\xff", b"[" * 100_000, b'{"arms":' + b"[" * 100_000, b"{1:2}"):
        with pytest.raises(SnapshotError, match="is not JSON"):
            parse_snapshot(data)


def test_a_step_is_one_row() -> None:
    steps = parse_in_steps(published(arms=[row("cf"), row("vae"), row("new")]))
    assert sum(1 for _ in steps) == 4


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(fields=st.dictionaries(st.text(), VALUES, max_size=4), listed=st.lists(VALUES, max_size=4), indent=st.booleans())
def test_pieces_are_what_the_whole_is(fields: dict[str, object], listed: list[object], indent: bool) -> None:
    content = {**fields, "arms": listed}
    pieces = JsonPieces(json.dumps(content, indent=2 if indent else None))
    read = {key: list(pieces.elements()) if key == "arms" else pieces.value() for key in pieces.each_key()}
    pieces.end()
    assert read == content
