"""Divide rows into train and holdout.

    user       a share of the users, chosen by hash, is held out; of each the first `fold_in` of the rows is given as
               history, the rest are targets. A user with two rows or more has at least one of each.
    time       rows after the cut are held out as targets; the histories stay in train (protocol per_user). The cut is
               the earliest time that leaves at most a share `holdout` of the rows after it.
    user_time  both: held-out users' rows up to the cut are given, later ones are targets; train is the other users up
               to the cut. The other users' later rows would leak the future and are in neither; they are counted.

Without times, rows are ordered by a hash of seed, user and item, and user_time is the same as user. Every choice
depends on ids, times and the seed, and not on order, files or workers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.hashing import siphash
from transforms.histories.dedupe import taken_back

__all__ = [
    "HOLDOUT",
    "SHARDS",
    "TRAIN",
    "UNUSED",
    "SplitRule",
    "TimeCounts",
    "cut_time",
    "divide",
    "fold",
    "merge_times",
    "shard_of",
    "time_counts",
    "without_taken_back",
]

TRAIN, HOLDOUT, UNUSED = 0, 1, 2
SHARDS = 16
"""Output files per side. Fixed, so that the bytes do not depend on the workers; one worker sorts one shard."""

TimeCounts = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Distinct times, ascending, and the rows at each."""


@dataclasses.dataclass(frozen=True)
class SplitRule:
    """How to split. holdout and fold_in are shares between 0 and 1."""

    by: Literal["user", "time", "user_time"]
    holdout: float
    fold_in: float
    seed: int


def time_counts(block: pa.RecordBatch) -> TimeCounts:
    """Count the times of one block, 16 bytes for each distinct time."""
    return np.unique(block.column("timestamp").to_numpy(), return_counts=True)


def merge_times(parts: Iterable[TimeCounts]) -> TimeCounts:
    """Merge the times of several blocks."""
    pairs = list(parts)
    if not pairs:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    times, place = np.unique(np.concatenate([times for times, _ in pairs]), return_inverse=True)
    counts = np.zeros(len(times), np.int64)
    np.add.at(counts, place, np.concatenate([counts for _, counts in pairs]))
    return times, counts


def cut_time(counts: TimeCounts, holdout: float) -> int | None:
    """Return the earliest time with at most a share `holdout` of the rows after it, None if no row has a time."""
    times, rows = counts
    if not len(times):
        return None
    after = rows.sum() - np.cumsum(rows)
    return int(times[np.argmax(after <= holdout * rows.sum())])


def divide(block: pa.RecordBatch, rule: SplitRule, cut_us: int | None) -> npt.NDArray[np.int8]:
    """Return TRAIN, HOLDOUT or UNUSED for every row of a block.

    Args:
        block: The rows.
        rule: How to split.
        cut_us: The last time of train in microseconds, None without times.

    Returns:
        int8 [rows].
    """
    late = np.zeros(block.num_rows, np.bool_)
    if rule.by != "user" and cut_us is not None and "timestamp" in block.schema.names:
        late = block.column("timestamp").to_numpy() > cut_us
    if rule.by == "time":
        return np.where(late, HOLDOUT, TRAIN).astype(np.int8)
    held = _held_out(block.column("user_id"), rule)
    return np.where(held, HOLDOUT, np.where(late, UNUSED, TRAIN)).astype(np.int8)


def shard_of(block: pa.RecordBatch, seed: int) -> npt.NDArray[np.int64]:
    """Return the shard of every row. All rows of a user are in one shard."""
    # Use the low bits. The high bits decide which users are held out, and would leave most shards without a holdout.
    return (_per_user(block.column("user_id"), seed) % np.uint64(SHARDS)).astype(np.int64)


def without_taken_back(table: pa.Table) -> pa.Table:
    """Leave out all rows of a user with an item if the newest of them has weight 0. Nobody looks for such an item."""
    if not table.num_rows or "weight" not in table.column_names:
        return table
    user, item = (
        table.column(name).combine_chunks().dictionary_encode().indices.to_numpy() for name in ("user_id", "item_id")
    )
    times = pc.fill_null(table.column("timestamp"), 0).to_numpy() if "timestamp" in table.column_names else None
    weights = pc.fill_null(table.column("weight"), 1.0).to_numpy()
    keys = user.astype(np.int64) * table.num_rows + item
    return table.filter(pa.array(~taken_back(keys, weights, times)))


def fold(table: pa.Table, rule: SplitRule, cut_us: int | None) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """Sort all rows of some users by user, time, hash and item, and mark the `given` rows.

    The mark is valid only for held-out rows.

    Returns:
        The sorted rows and their marks.
    """
    keys = [("user_id", "ascending")]
    if "timestamp" in table.column_names:
        keys.append(("timestamp", "ascending"))
    pairs = pc.binary_join_element_wise(
        table.column("user_id").cast(pa.string()), table.column("item_id").cast(pa.string()), "\0"
    )
    hashes = siphash(pairs.combine_chunks(), rule.seed) if table.num_rows else np.empty(0, np.uint64)
    table = table.append_column("hash", pa.array(hashes))
    keys += [("hash", "ascending"), ("item_id", "ascending")]
    keys += [("weight", "ascending")] if "weight" in table.column_names else []
    table = table.sort_by(keys).drop_columns(["hash"])
    if rule.by == "time":
        return table, np.zeros(table.num_rows, np.bool_)
    if rule.by == "user_time" and cut_us is not None and "timestamp" in table.column_names:
        return table, table.column("timestamp").to_numpy() <= cut_us
    return table, _first_share(table.column("user_id"), rule.fold_in)


def _first_share(users: pa.ChunkedArray, share: float) -> npt.NDArray[np.bool_]:
    codes = users.combine_chunks().dictionary_encode().indices.to_numpy()
    if not len(codes):
        return np.zeros(0, np.bool_)
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    lengths = np.diff(np.concatenate([starts, [len(codes)]]))
    given = np.floor(share * lengths + 0.5).astype(np.int64)
    given = np.clip(given, 1, np.maximum(lengths - 1, 1))
    place = np.arange(len(codes)) - np.repeat(starts, lengths)
    return place < np.repeat(given, lengths)


def _held_out(users: pa.Array, rule: SplitRule) -> npt.NDArray[np.bool_]:
    # Compare as float64. The error of 2^-53 of the range is negligible, and holdout=1.0 needs no 65th bit.
    return _per_user(users, rule.seed).astype(np.float64) < rule.holdout * 2.0**64


def _per_user(users: pa.Array, seed: int) -> npt.NDArray[np.uint64]:
    if not pa.types.is_dictionary(users.type):
        users = users.dictionary_encode()
    hashes: npt.NDArray[np.uint64] = siphash(users.dictionary, seed)[users.indices.to_numpy()]
    return hashes
