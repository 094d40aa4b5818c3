"""Who is held out and what is given: the rules of the split, on blocks in any order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluate.split_files import SplitCounts, divide_block, write_shard
from pipelines.evaluate.splitting import (
    HOLDOUT,
    SHARDS,
    TRAIN,
    UNUSED,
    SplitRule,
    cut_time,
    divide,
    fold,
    merge_times,
    shard_of,
    time_counts,
)


def block(users: list[str], items: list[str], times: list[int] | None = None) -> pa.RecordBatch:
    columns = {
        "user_id": pa.array(users, pa.string()).dictionary_encode(),
        "item_id": pa.array(items, pa.string()).dictionary_encode(),
    }
    return pa.RecordBatch.from_pydict(
        columns if times is None else columns | {"timestamp": pa.array(times, pa.int64())}
    )


def log(rows: int = 600, users: int = 80, seed: int = 0) -> pa.RecordBatch:
    rng = np.random.default_rng(seed)
    names = [f"u{n}" for n in rng.integers(0, users, rows)]
    return block(names, [f"i{n}" for n in rng.integers(0, 30, rows)], rng.integers(0, 1000, rows).tolist())


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.floats(0.01, 0.99), st.randoms())
def test_the_cut_is_the_earliest_time_with_at_most_the_share_after_it(times: list[int], share: float, random) -> None:
    pieces = [times[i::3] for i in range(3)]
    counts = merge_times(time_counts(block(["u"] * len(one), ["i"] * len(one), one)) for one in pieces if one)
    fits = [t for t in sorted(set(times)) if sum(other > t for other in times) <= share * len(times)]
    assert cut_time(counts, share) == fits[0]


def test_without_times_there_is_no_cut() -> None:
    assert cut_time(merge_times([]), 0.1) is None


def test_time_holds_out_the_rows_after_the_cut() -> None:
    part = divide(block(["a", "a", "b"], ["x", "y", "x"], [1, 5, 9]), SplitRule("time", 0.1, 0.8, 1), 5)
    assert part.tolist() == [TRAIN, TRAIN, HOLDOUT]


@pytest.mark.parametrize("by", ["user", "user_time"])
def test_a_user_is_held_out_whole_and_the_share_is_about_right(by: str) -> None:
    rows = log(8000, 2000)
    part = divide(rows, SplitRule(by, 0.25, 0.8, 7), 700)
    held = {user for user, one in zip(rows["user_id"].to_pylist(), part, strict=True) if one == HOLDOUT}
    rest = {user for user, one in zip(rows["user_id"].to_pylist(), part, strict=True) if one != HOLDOUT}
    assert not held & rest
    assert 0.2 < len(held) / (len(held) + len(rest)) < 0.3
    late = rows["timestamp"].to_numpy() > 700
    assert (part == UNUSED).any() == (by == "user_time")
    assert not ((part == UNUSED) & ~late).any()
    assert by == "user" or not ((part == TRAIN) & late).any()


def test_more_holdout_keeps_the_users_that_were_held_out_before() -> None:
    rows = log()
    small, large = (divide(rows, SplitRule("user", share, 0.8, 1), None) == HOLDOUT for share in (0.1, 0.4))
    assert not (small & ~large).any()


def test_shards_keep_users_together_and_spread_the_held_out_ones() -> None:
    rows = log(4000, 1000)
    shards = shard_of(rows, 1)
    seen: dict[str, int] = {}
    for user, shard in zip(rows["user_id"].to_pylist(), shards.tolist(), strict=True):
        assert seen.setdefault(user, shard) == shard
    held = divide(rows, SplitRule("user", 0.2, 0.8, 1), None) == HOLDOUT
    assert len(set(shards[held].tolist())) > SHARDS // 2


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), min_size=1, max_size=30), st.floats(0.05, 0.95))
def test_the_first_share_by_time_is_given_and_two_rows_leave_one_on_each_side(
    rows: list[tuple[str, int]], share: float
) -> None:
    table = pa.table(
        {
            "user_id": [user for user, _ in rows],
            "item_id": [f"i{n}" for n in range(len(rows))],
            "timestamp": [time for _, time in rows],
        }
    )
    ordered, given_ = fold(table, SplitRule("user", 0.1, share, 1), None)
    for user in {user for user, _ in rows}:
        mine = [
            (t, g)
            for u, t, g in zip(ordered["user_id"].to_pylist(), ordered["timestamp"].to_pylist(), given_, strict=True)
            if u == user
        ]
        shown, asked = [t for t, g in mine if g], [t for t, g in mine if not g]
        assert len(shown) == min(max(int(share * len(mine) + 0.5), 1), max(len(mine) - 1, 1))
        assert not asked or max(shown) <= min(asked)


def test_user_time_gives_what_lies_before_the_cut() -> None:
    table = pa.table({"user_id": ["u"] * 3, "item_id": ["a", "b", "c"], "timestamp": [9, 1, 5]})
    ordered, given_ = fold(table, SplitRule("user_time", 0.1, 0.8, 1), 5)
    assert list(zip(ordered["item_id"].to_pylist(), given_.tolist(), strict=True)) == [
        ("b", True),
        ("c", True),
        ("a", False),
    ]


def test_without_times_the_seed_decides_the_order() -> None:
    table = pa.table({"user_id": ["u"] * 20, "item_id": [f"i{n}" for n in range(20)]})
    orders = [fold(table, SplitRule("user", 0.1, 0.8, seed), None)[0]["item_id"].to_pylist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != table["item_id"].to_pylist()


@pytest.mark.parametrize("by", ["user", "time", "user_time"])
def test_files_do_not_depend_on_order_and_cut_of_blocks(by: str, tmp_path) -> None:
    rows = log()
    rule = SplitRule(by, 0.3, 0.8, 5)
    shuffled = rows.take(pa.array(np.random.default_rng(1).permutation(rows.num_rows)))
    contents = []
    for name, blocks in (
        ("whole", [rows]),
        ("cut", [shuffled.slice(0, 99), shuffled.slice(99, 300), shuffled.slice(399)]),
    ):
        times = merge_times(map(time_counts, blocks))
        for side in ("train", "holdout"):
            (tmp_path / name / side).mkdir(parents=True)
        shards: dict[int, list[tuple[int, pa.RecordBatch]]] = {}
        for one in blocks:
            for shard, piece in divide_block(one, rule, times):
                shards.setdefault(shard, []).append(piece)
        counts = [write_shard(keyed, rule, times, str(tmp_path / name)) for keyed in shards.items()]
        total = sum(counts, SplitCounts())
        files = sorted((tmp_path / name).rglob("*.parquet"))
        contents.append(([f.relative_to(tmp_path / name) for f in files], [f.read_bytes() for f in files], total))
    assert contents[0] == contents[1]
    unused = rows.num_rows - total.train_rows - total.given_rows - total.target_rows
    assert (unused > 0) == (by == "user_time")


@pytest.mark.parametrize("times", [[1, 1, 2, 3, 4], None])
def test_rows_of_an_item_taken_back_are_left_out_of_the_holdout_and_counted(times: list[int] | None, tmp_path) -> None:
    """With times the newest row takes b back. Without times the heaviest row of b counts. The only row of c is 0."""
    rows = block(["u"] * 5, ["a", "b", "b", "c", "d"], times)
    weights = [1.0, 1.0, 0.0, 0.0, 1.0]
    rows = rows.append_column("weight", pa.array(weights))
    rule = SplitRule("user", 1.0, 0.5, 1)
    counted = merge_times([time_counts(rows)] if times else [])
    [(shard, piece)] = divide_block(rows, rule, counted)
    counts = write_shard((shard, [piece]), rule, counted, str(tmp_path))
    [file] = tmp_path.rglob("*.parquet")
    left = ["a", "d"] if times else ["a", "b", "b", "d"]
    assert sorted(pq.read_table(file)["item_id"].to_pylist()) == left
    assert (counts.zero_weight, counts.given_rows + counts.target_rows) == (5 - len(left), len(left))


def test_a_holdout_shard_of_nothing_but_weight_0_writes_no_file(tmp_path) -> None:
    rows = block(["u", "u"], ["a", "b"]).append_column("weight", pa.array([0.0, 0.0]))
    rule = SplitRule("user", 1.0, 0.5, 1)
    [(shard, piece)] = divide_block(rows, rule, merge_times([]))
    assert write_shard((shard, [piece]), rule, merge_times([]), str(tmp_path)) == SplitCounts(zero_weight=2)
    assert not list(tmp_path.rglob("*.parquet"))


def test_train_keeps_rows_of_weight_0_for_the_trainers_dedupe(tmp_path) -> None:
    rows = block(["u", "u"], ["a", "a"]).append_column("weight", pa.array([1.0, 0.0]))
    rule = SplitRule("user", 0.0, 0.5, 1)
    [(shard, piece)] = divide_block(rows, rule, merge_times([]))
    assert write_shard((shard, [piece]), rule, merge_times([]), str(tmp_path)) == SplitCounts(
        train_rows=2, train_users=1
    )
