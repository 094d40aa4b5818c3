"""Histories and targets against plain dictionaries, for both protocols."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluate.dataset import Dataset, build, compact

Row = tuple[str, str, int, str]  # user, item, time, part: train, given, target
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["u1", "u2", "ü3", "u10"]),
        st.sampled_from(["a", "b", "ß", "zz", "007"]),
        st.integers(0, 4),
        st.sampled_from(["train", "given", "target"]),
    ),
    max_size=30,
)


def block(rows: list[Row], part: str) -> pa.RecordBatch:
    columns = {"user_id": [row[0] for row in rows], "item_id": [row[1] for row in rows]}
    encoded = {name: pa.array(values, pa.string()).dictionary_encode() for name, values in columns.items()}
    times = {"timestamp": pa.array([row[2] for row in rows], pa.int64())}
    given_ = {} if part == "train" else {"given": pa.array([row[3] == "given" for row in rows], pa.bool_())}
    return compact(pa.RecordBatch.from_pydict(encoded | times | given_), holdout=part != "train")


def blocks(rows: list[Row]) -> list[pa.RecordBatch]:
    train = [row for row in rows if row[3] == "train"]
    held = [row for row in rows if row[3] != "train"]
    return [block(part, name) for part, name in ((train, "train"), (held, "holdout")) if part]


def as_lists(dataset: Dataset) -> dict[str, tuple[list[str], list[str]]]:
    items = dataset.items.to_pylist()
    return {
        user: ([items[i] for i in dataset.histories[n]], [items[i] for i in dataset.targets[n]])
        for n, user in enumerate(dataset.users.to_pylist())
    }


def slow(rows: list[Row], protocol: str) -> dict[str, tuple[list[str], list[str]]]:
    shown = {"fold_in": ("given",), "per_user": ("given", "train")}[protocol]
    result = {}
    for user in {row[0] for row in rows}:
        last: dict[str, int] = {}
        for name, item, time, part in rows:
            if name == user and part in shown:
                last[item] = max(last.get(item, -1), time)
        history = sorted(last, key=lambda item: (last[item], item.encode()))
        targets = {row[1] for row in rows if row[0] == user and row[3] == "target"} - set(last)
        if targets:
            result[user] = (history, sorted(targets, key=str.encode))
    return result


@pytest.mark.parametrize("protocol", ["fold_in", "per_user"])
@given(rows=ROWS)
def test_histories_and_targets_equal_the_plain_computation(protocol: str, rows: list[Row]) -> None:
    dataset = build(blocks(rows), protocol)
    assert as_lists(dataset) == slow(rows, protocol)
    assert dataset.items.to_pylist() == sorted({row[1] for row in rows}, key=str.encode)
    train = {(row[0], row[1]) for row in rows if row[3] == "train"}
    assert dataset.train.sum() == len(train)
    assert dataset.item_users().tolist() == [sum(i == item for _, i in train) for item in dataset.items.to_pylist()]


@given(rows=ROWS, cuts=st.lists(st.integers(0, 30), max_size=3), random=st.randoms())
def test_the_dataset_does_not_depend_on_order_and_cut_of_blocks(rows: list[Row], cuts: list[int], random) -> None:
    expected = build(blocks(rows), "per_user")
    shuffled = rows[:]
    random.shuffle(shuffled)
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    pieces = [one for a, b in itertools.pairwise(edges) for one in blocks(shuffled[a:b])]
    found = build(pieces, "per_user")
    assert as_lists(found) == as_lists(expected)
    assert found.counts == expected.counts
    assert (found.train != expected.train).nnz == 0


def test_what_does_not_count_is_counted() -> None:
    rows = [
        ("u1", "a", 0, "train"),
        ("u1", "b", 1, "train"),
        ("u1", "b", 2, "target"),  # in the history already
        ("u1", "new", 3, "target"),  # unknown to train
        ("u2", "a", 0, "train"),  # no holdout at all
        ("u3", "a", 5, "target"),  # no history
    ]
    counts = build(blocks(rows), None).counts
    assert counts.protocol == "per_user"
    assert (counts.users_evaluated, counts.users_empty_holdout, counts.users_without_history) == (2, 1, 1)
    assert (counts.targets, counts.targets_in_history, counts.targets_unknown_to_train) == (2, 1, 1)


def test_a_given_row_makes_the_protocol_fold_in() -> None:
    rows = [("u1", "a", 0, "train"), ("u2", "a", 0, "given"), ("u2", "b", 0, "target")]
    dataset = build(blocks(rows), None)
    assert dataset.counts.protocol == "fold_in"
    assert as_lists(dataset) == {"u2": (["a"], ["b"])}


def test_no_rows_at_all_is_an_empty_dataset() -> None:
    assert build([], None).counts.users_evaluated == 0


def test_an_item_taken_back_is_neither_history_nor_target_nor_part_of_train() -> None:
    """u takes b back in the holdout and v takes a back in train. A weight of 0 that is not the newest has no effect."""
    rows: list[tuple[str, str, int, str, float]] = [
        ("v", "a", 1, "train", 1.0), ("v", "a", 2, "train", 0.0), ("v", "b", 1, "train", 0.0),
        ("v", "b", 2, "train", 1.0), ("u", "a", 1, "given", 1.0), ("u", "b", 1, "given", 1.0),
        ("u", "b", 3, "target", 0.0), ("u", "c", 4, "target", 1.0), ("u", "d", 5, "target", 0.0),
    ]  # fmt: skip
    parts = []
    for holdout in (False, True):
        mine = [row for row in rows if (row[3] != "train") is holdout]
        columns = {
            "user_id": pa.array([row[0] for row in mine]),
            "item_id": pa.array([row[1] for row in mine]),
            "timestamp": pa.array([row[2] for row in mine], pa.int64()),
            "weight": pa.array([row[4] for row in mine], pa.float64()),
        }
        if holdout:
            columns["given"] = pa.array([row[3] == "given" for row in mine])
        parts.append(compact(pa.RecordBatch.from_pydict(columns), holdout=holdout))
    dataset = build(parts, "fold_in")
    assert as_lists(dataset) == {"u": (["a"], ["c"])}
    assert dict(zip(dataset.items.to_pylist(), dataset.item_users().tolist(), strict=True)) == {
        "a": 0, "b": 1, "c": 0, "d": 0,
    }  # fmt: skip
    assert (dataset.counts.zero_weight, dataset.counts.train_rows, dataset.counts.holdout_rows) == (5, 2, 2)
