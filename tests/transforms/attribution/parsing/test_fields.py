"""What a good field is, where the border lies."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transforms.attribution.parsing.record_lines import DECISION, REWARD
from transforms.attribution.parsing import fields
from transforms.attribution.parsing.fields import Field, fault


def fault_of(kind: tuple[Field, ...], record: dict[str, Any]) -> str:
    return fault(kind, [record.get(field.name) for field in kind])


def test_null_is_as_good_as_absent() -> None:
    assert fault_of(fields.DECISION, {**DECISION, "bot": None, "features": None}) == ""
    assert fault_of(fields.DECISION, {**DECISION, "segment": None}) == "segment is missing"


@pytest.mark.parametrize("size", [1, 1_024])
def test_an_id_has_up_to_1024_bytes(size: int) -> None:
    assert fault_of(fields.REWARD, {**REWARD, "kind": "x" * size}) == ""
    assert fault_of(fields.REWARD, {**REWARD, "kind": "x" * 1_025}) == "kind has 1,025 bytes, more than 1,024"
    assert fault_of(fields.REWARD, {**REWARD, "kind": "é" * 513}) == "kind has 1,026 bytes, more than 1,024"


@pytest.mark.parametrize("text", ["a\0", "\r", "a\nb"])
def test_an_id_holds_no_line_end_and_no_nul(text: str) -> None:
    assert fault_of(fields.DECISION, {**DECISION, "arm_id": text}) == "arm_id holds NUL, CR or LF"


def test_half_a_surrogate_pair_is_no_id() -> None:
    assert fault_of(fields.DECISION, {**DECISION, "arm_id": "\ud800"}) == "arm_id holds half a surrogate pair"


@given(micro=st.integers(-(10**15), 10**15))
def test_every_decimal_of_six_places_up_to_a_billion_is_a_value(micro: int) -> None:
    assert fault_of(fields.REWARD, {**REWARD, "value": micro / 10**6}) == ""
    assert round(micro / 10**6 * 10**6) == micro


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e-7, 0.1234567, math.nextafter(1, 2)])
def test_more_than_six_places_are_too_many(value: float) -> None:
    assert fault_of(fields.REWARD, {**REWARD, "value": value}) == "value has more than 6 decimal places"


@pytest.mark.parametrize("value", [10**9 + 1, -(10**9) - 1, 1e300, math.inf, math.nan, 10**400])
def test_a_value_beyond_a_billion_is_refused(value: float) -> None:
    assert fault_of(fields.REWARD, {**REWARD, "value": value}) == "value is beyond 1,000,000,000"


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_an_integer_has_64_bits(number: int) -> None:
    assert fault_of(fields.DECISION, {**DECISION, "policy_epoch": number}) == "policy_epoch is beyond 64 bits"
    assert fault_of(fields.DECISION, {**DECISION, "policy_epoch": number - (number > 0) + (number < 0)}) == ""


@pytest.mark.parametrize("features", [[2**20], [-(2.0**20)], [], [0, 0.5]])
def test_features_are_numbers_of_at_most_a_million(features: list[float]) -> None:
    assert fault_of(fields.DECISION, {**DECISION, "features": features}) == ""
    assert (
        fault_of(fields.DECISION, {**DECISION, "features": [*features, 2**20 + 1]})
        == "features holds more than 1,048,576"
    )
    assert fault_of(fields.DECISION, {**DECISION, "features": [*features, True]}) == "features is no array of numbers"


def test_ids_inside_a_list_are_ids() -> None:
    assert fault_of(fields.DECISION, {**DECISION, "items": ["a", ""]}) == "items holds an id that is empty"
