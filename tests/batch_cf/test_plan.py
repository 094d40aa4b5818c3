"""Totals, numbering and units: exact, independent of sharding, and never past 63 bits."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.batch_cf.plan import Totals, exponent_for, make_plan, merge_totals
from pipelines.batch_cf.rules import HistoryRules

IDS = st.lists(st.text(min_size=1, max_size=3).filter(lambda text: text.isprintable()), min_size=1, unique=True)
NONE = pa.array([], pa.string())


def totals(counts: dict[str, int]) -> Totals:
    return Totals(
        pa.array(list(counts), pa.string()),
        np.array(list(counts.values()), np.int64),
        np.ones(len(counts)),
        9,
        9,
        9,
        False,
    )


@given(ids=IDS, seed=st.integers(0, 1000))
def test_items_are_numbered_in_the_order_of_their_utf8_bytes(ids: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [totals({item: int(rng.integers(1, 5)) for item in rng.permutation(ids).tolist()}) for _ in range(3)]
    merged = merge_totals([merge_totals(parts[:2]), parts[2]])
    assert merged.items.to_pylist() == sorted(ids, key=lambda item: item.encode())
    for item, users in zip(merged.items.to_pylist(), merged.item_users.tolist(), strict=True):
        expected = sum(part.item_users[part.items.to_pylist().index(item)] for part in parts)
        assert users == expected


@given(terms=st.integers(0, 10**9), largest=st.floats(1e-9, 1e12))
def test_sums_in_the_chosen_units_stay_within_63_bits_and_are_as_fine_as_they_can_be(
    terms: int, largest: float
) -> None:
    exponent = exponent_for(terms, largest)
    assert exponent <= 40
    assert terms * math.ldexp(largest, exponent) + terms / 2 < 2**63
    assert exponent == 40 or max(1, terms * largest) * 2.0 ** (exponent + 2) > 2**62


def test_unavailable_items_are_numbered_and_not_eligible() -> None:
    plan = make_plan(totals({"a": 2, "b": 1}), HistoryRules(), pa.array(["a", "zz"]))
    assert plan.items.to_pylist() == ["a", "b"]
    assert plan.available.tolist() == [False, True]


@pytest.mark.parametrize(("least", "most", "left"), [(2, None, ["a", "b"]), (1, 2, ["b", "c"]), (3, 3, ["a"])])
def test_limits_on_items_are_inclusive(least: int, most: int | None, left: list[str]) -> None:
    rules = HistoryRules(min_item_users=least, max_item_users=most)
    assert make_plan(totals({"a": 3, "b": 2, "c": 1}), rules, NONE).items.to_pylist() == left
