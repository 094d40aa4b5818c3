"""Canonical JSON: equal values are equal bytes, whatever the order of their keys."""

from __future__ import annotations

import json
import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_client.contracts.canonical import canonical_json

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)
records = st.dictionaries(texts, values, max_size=6)


def shuffled(value: Any, rng: random.Random) -> Any:
    """The same value, the keys of all objects in another order."""
    if isinstance(value, dict):
        keys = list(value)
        rng.shuffle(keys)
        return {key: shuffled(value[key], rng) for key in keys}
    return [shuffled(each, rng) for each in value] if isinstance(value, list) else value


@given(value=values)
def test_canonical_json_reads_back_as_the_same(value: Any) -> None:
    assert json.loads(canonical_json(value)) == value


@given(value=values, rng=st.randoms(use_true_random=False))
def test_the_order_of_keys_changes_no_byte(value: Any, rng: random.Random) -> None:
    assert canonical_json(shuffled(value, rng)) == canonical_json(value)


@given(value=values)
def test_canonical_json_of_what_it_says_is_itself(value: Any) -> None:
    written = canonical_json(value)
    assert canonical_json(json.loads(written)) == written


@given(record=records)
def test_keys_are_in_the_order_of_their_utf8_bytes(record: dict[str, Any]) -> None:
    assert list(orjson.loads(canonical_json(record))) == sorted(record, key=str.encode)


def test_canonical_json_has_no_spaces_no_escapes_and_the_shortest_numbers() -> None:
    written = canonical_json({"b": [1, 0.1, 1e22, -0.0], "a": "größe", "c": {"z": None, "y": True}})
    assert written.decode() == '{"a":"größe","b":[1,0.1,1e+22,-0.0],"c":{"y":true,"z":null}}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [-float("inf")], {"a": "\ud800"}])
def test_what_json_cannot_say_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError):
        canonical_json(value)


def test_what_is_no_json_type_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        canonical_json({"a": {1, 2}})
