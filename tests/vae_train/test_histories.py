"""Histories against the plain computation, whatever the order, repetition and division of the rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.vae_train.config import FeatureRules
from pipelines.vae_train.features.histories import merge_histories
from transforms.histories.shards import partition

from . import features_oracle as oracle

ITEMS = [*oracle.ODD_IDS, "c1", "c2", "c10"]
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["u1", "u2", "ü", " "]),
        st.sampled_from(ITEMS[:8]),
        st.sampled_from([0.0, 0.5, 2.0]),
        st.sampled_from([-5, 0, 7, 9]),
    ),
    min_size=1,
    max_size=40,
)


@pytest.mark.parametrize("columns", ["wt", "t", "w", ""])
def test_a_history_holds_each_item_once_oldest_first(columns: str) -> None:
    rows = oracle.make_rows(1, 40, ITEMS, 900)
    found = merge_histories([oracle.block_of(rows, columns)], FeatureRules())
    assert oracle.as_dict(found) == oracle.histories(rows, columns)
    assert (found.weights is None) == ("w" not in columns)
    assert (found.timestamps is None) == ("t" not in columns)


def test_users_of_few_items_are_left_out_and_repeats_do_not_count() -> None:
    rows = [("a", "x", 1.0, 1), ("a", "x", 1.0, 2), ("b", "x", 1.0, 3), ("b", "y", 1.0, 1)]
    found = merge_histories([oracle.block_of(rows)], FeatureRules(min_user_items=2))
    assert oracle.as_dict(found) == {"b": [("y", 1.0), ("x", 1.0)]}


def test_interactions_are_deduplicated_before_weight_0_is_left_out() -> None:
    """a takes y back, so one item is left; b has only x, taken back; c's heaviest of two equally new counts."""
    rows = [("a", "x", 1.0, 1), ("a", "y", 1.0, 1), ("a", "y", 0.0, 2), ("b", "x", 0.0, 1)]
    rows += [("c", "x", 0.0, 1), ("c", "x", 1.0, 1), ("c", "y", 0.0, 1), ("c", "y", 1.0, 2)]
    found = merge_histories([oracle.block_of(rows)], FeatureRules())
    assert oracle.as_dict(found) == {"a": [("x", 1.0)], "c": [("x", 1.0), ("y", 1.0)]}
    assert found.zero_weight == 2 == oracle.zero_weights(rows)
    assert oracle.as_dict(merge_histories([oracle.block_of(rows)], FeatureRules(min_user_items=2))).keys() == {"c"}


def test_all_users_too_few_items_is_an_empty_shard() -> None:
    found = merge_histories([oracle.block_of([("a", "x", 1.0, 1)])], FeatureRules(min_user_items=2))
    assert len(found.users) == len(found.keys) == len(found.codes) == 0
    assert found.indptr.tolist() == [0]


def test_keys_are_the_seeded_hash_of_the_user() -> None:
    found = merge_histories([oracle.block_of([("b", "x", 1.0, 1), ("a", "x", 1.0, 1)])], FeatureRules(seed=9))
    expected = {user: oracle.key_of(user, 9) for user in "ab"}
    assert dict(zip(found.users.to_pylist(), found.keys.tolist(), strict=True)) == expected


def test_without_times_the_seed_decides_the_order() -> None:
    rows = [("a", f"c{number}", 1.0, 0) for number in range(30)]
    orders = [oracle.as_dict(merge_histories([oracle.block_of(rows, "")], FeatureRules(seed=seed))) for seed in (1, 2)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]["a"]) == sorted(orders[1]["a"])


@settings(max_examples=60)
@given(rows=ROWS, columns=st.sampled_from(["wt", "t", "w", ""]), data=st.data())
def test_order_repetition_blocks_and_shards_do_not_matter(
    rows: list[oracle.Row], columns: str, data: st.DataObject
) -> None:
    again = data.draw(st.permutations(rows + data.draw(st.lists(st.sampled_from(rows), max_size=10))))
    cut = data.draw(st.integers(0, len(again)))
    shards = data.draw(st.integers(1, 5))
    parts: dict[int, list] = {}
    for part in (again[:cut], again[cut:]):
        for shard, block in partition(oracle.block_of(part, columns), shards, 1) if part else []:
            parts.setdefault(shard, []).append(block)
    found: dict[str, list[oracle.Entry]] = {}
    for blocks in parts.values():
        merged = merge_histories(blocks, FeatureRules())
        assert not np.diff(merged.indptr).min(initial=1) < 1
        found |= oracle.as_dict(merged)
    assert found == oracle.histories(rows, columns)
