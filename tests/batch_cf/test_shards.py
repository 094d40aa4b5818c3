"""What a shard keeps of its interactions, and that every interaction left out is counted under one rule."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.batch_cf.rules import HistoryRules
from pipelines.batch_cf.shards import SMALLEST_WEIGHT, keep_histories
from transforms.errors import BadInput
from transforms.histories.dedupe import DedupeRule

Row = tuple[str, str, float, int]


def block_of(rows: list[Row]) -> pa.RecordBatch:
    users, items, weights, times = zip(*rows, strict=True)
    return pa.RecordBatch.from_pydict(
        {
            "user_id": pa.array(users).dictionary_encode(),
            "item_id": pa.array(items).dictionary_encode(),
            "weight": pa.array(weights, pa.float64()),
            "timestamp": pa.array(times, pa.int64()),
        }
    )


def pairs_of(rows: list[Row], rules: HistoryRules, reference_us: int | None = None) -> set[tuple[str, str]]:
    shard = keep_histories([block_of(rows)], rules, reference_us).shard
    users, items = shard.users.to_pylist(), shard.items.to_pylist()
    return {(users[u], items[i]) for u, i in zip(shard.user_codes.tolist(), shard.item_codes.tolist(), strict=True)}


TAKEN_BACK: list[Row] = [("u", "a", 1.0, 1), ("u", "b", 1.0, 1), ("u", "b", 0.0, 2), ("v", "c", 0.0, 1)]


@pytest.mark.parametrize(
    ("dedupe", "pairs", "zero_weight"),
    [
        ("last", {("u", "a")}, 2),
        ("first", {("u", "a"), ("u", "b")}, 1),
        ("sum", {("u", "a"), ("u", "b")}, 1),
        ("max", {("u", "a"), ("u", "b")}, 1),
    ],
)
def test_interactions_are_deduplicated_before_weight_0_is_left_out(
    dedupe: DedupeRule, pairs: set[tuple[str, str]], zero_weight: int
) -> None:
    rules = HistoryRules(dedupe=dedupe)
    assert pairs_of(TAKEN_BACK, rules) == pairs
    kept = keep_histories([block_of(TAKEN_BACK)], rules, None)
    assert (kept.repeats, kept.zero_weight, kept.decayed, kept.of_limited_users) == (1, zero_weight, 0, 0)


def test_limits_on_users_count_items_that_still_have_a_weight() -> None:
    """u has b taken back, so one item is left; w has two items."""
    rows = [*TAKEN_BACK, ("w", "a", 1.0, 1), ("w", "b", 1.0, 1)]
    rules = HistoryRules(min_user_items=2)
    assert pairs_of(rows, rules) == {("w", "a"), ("w", "b")}
    kept = keep_histories([block_of(rows)], rules, None)
    assert (kept.repeats, kept.zero_weight, kept.of_limited_users) == (1, 2, 1)


@pytest.mark.parametrize("dedupe", ["last", "first", "sum", "max"])
def test_decay_and_weight_0_are_counted_apart(dedupe: DedupeRule) -> None:
    """At 300 half-lives a weight of 1 is 2^-300, below the smallest weight of 2^-200."""
    rows = [("u", "old", 1.0, 0), ("u", "none", 0.0, 300), ("u", "old none", 0.0, 0), ("u", "new", 1.0, 300)]
    rules = HistoryRules(dedupe=dedupe, half_life_us=1)
    assert pairs_of(rows, rules, 300) == {("u", "new")}
    kept = keep_histories([block_of(rows)], rules, 300)
    assert (kept.zero_weight, kept.decayed) == (2, 1)


def test_a_log_without_weights_decays_and_has_no_weight_0() -> None:
    block = block_of([("u", "old", 1.0, 0), ("u", "new", 1.0, 300)]).select(["user_id", "item_id", "timestamp"])
    kept = keep_histories([block], HistoryRules(half_life_us=1), 300)
    assert (kept.zero_weight, kept.decayed) == (0, 1)


def test_a_decayed_sum_that_would_overflow_without_decay_is_counted_and_not_refused() -> None:
    rows = [("u", "old", 2.0**23, 0), ("u", "old", 2.0**23, 0), ("u", "new", 1.0, 300)]
    kept = keep_histories([block_of(rows)], HistoryRules(dedupe="sum", half_life_us=1), 300)
    assert (kept.repeats, kept.zero_weight, kept.decayed) == (1, 0, 1)


def test_a_weight_above_the_largest_is_refused_with_its_value() -> None:
    with pytest.raises(BadInput, match=r"a weight of 1e\+80 is above 1.61e\+60; scale the weights down"):
        keep_histories([block_of([("u", "a", 1e80, 1)])], HistoryRules(), None)


ROWS = st.lists(
    st.tuples(
        st.sampled_from("uvw"),
        st.sampled_from("abcd"),
        st.sampled_from([0.0, 2.0**-300, 0.5, 2.0]),
        st.integers(0, 400),
    ),
    min_size=1,
    max_size=40,
)


@given(
    rows=ROWS,
    dedupe=st.sampled_from(["last", "first", "sum", "max"]),
    half_life_us=st.sampled_from([None, 1, 100]),
    least=st.integers(1, 3),
    most=st.sampled_from([None, 3]),
    binary=st.booleans(),
)
def test_every_interaction_is_kept_or_counted_once(
    rows: list[Row], dedupe: DedupeRule, half_life_us: int | None, least: int, most: int | None, binary: bool
) -> None:
    rules = HistoryRules(
        dedupe=dedupe, half_life_us=half_life_us, min_user_items=least, max_user_items=most, binary=binary
    )
    kept = keep_histories([block_of(rows)], rules, 400)
    counted = (kept.repeats, kept.zero_weight, kept.decayed, kept.of_limited_users)
    assert all(count >= 0 for count in counted)
    assert sum(counted) + len(kept.shard.user_codes) == len(rows)
    assert kept.repeats == len(rows) - len({row[:2] for row in rows})
    assert kept.decayed == 0 or half_life_us is not None
    assert (kept.shard.weights is None) is binary
    if kept.shard.weights is not None and len(kept.shard.weights):
        assert kept.shard.weights.min() >= SMALLEST_WEIGHT
