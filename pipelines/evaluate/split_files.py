"""Write a shard of the split as Parquet files with the same bytes in every run.

Files: DIR/train/part-00003-of-00016.parquet and DIR/holdout/..., columns user_id, item_id, [weight], [timestamp], and
`given` in the holdout. A shard without rows writes no file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.evaluate.splitting import (
    HOLDOUT,
    SHARDS,
    TRAIN,
    SplitRule,
    TimeCounts,
    cut_time,
    divide,
    fold,
    shard_of,
    without_taken_back,
)
from transforms.files import storage

__all__ = ["SplitCounts", "divide_block", "write_shard"]

ROW_GROUP_ROWS = 1_000_000


@dataclasses.dataclass(frozen=True)
class SplitCounts:
    """The counts of one shard, or of the whole split.

    Args:
        users_empty_holdout: Held-out users without a target.
        zero_weight: Rows of the holdout that were left out, see `splitting.without_taken_back`.
    """

    train_rows: int = 0
    train_users: int = 0
    given_rows: int = 0
    target_rows: int = 0
    holdout_users: int = 0
    users_empty_holdout: int = 0
    zero_weight: int = 0

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> SplitCounts:
        """Return the counts that the shards reported as facts, 0 where there was no shard."""
        return cls(**{field.name: facts.get(field.name, 0) for field in dataclasses.fields(cls)})

    def rows(self) -> int:
        """Return the number of rows in train and holdout."""
        return self.train_rows + self.given_rows + self.target_rows

    def __add__(self, other: SplitCounts) -> SplitCounts:
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        return SplitCounts(**{name: mine[name] + theirs[name] for name in mine})


def divide_block(
    block: pa.RecordBatch, rule: SplitRule, times: TimeCounts
) -> Iterator[tuple[int, tuple[int, pa.RecordBatch]]]:
    """Yield the used rows of a block as (shard, (part, rows)), with ids as plain strings."""
    part = divide(block, rule, cut_time(times, rule.holdout))
    shard = shard_of(block, rule.seed)
    names = block.schema.names
    plain = [
        column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
        for column in (block.column(name) for name in names)
    ]
    rows = pa.RecordBatch.from_arrays(plain, names=names)
    for number in np.unique(shard).tolist():
        for side in (TRAIN, HOLDOUT):
            mine = np.flatnonzero((shard == number) & (part == side))
            if len(mine):
                yield number, (side, rows.take(pa.array(mine)))


def write_shard(
    keyed: tuple[int, Iterable[tuple[int, pa.RecordBatch]]], rule: SplitRule, times: TimeCounts, folder: str
) -> SplitCounts:
    """Sort one shard's rows, mark the given ones, and write its files under `folder`.

    Returns:
        The counts of the written rows.
    """
    shard, pieces = keyed
    sides: dict[int, list[pa.Table]] = {TRAIN: [], HOLDOUT: []}
    for side, rows in pieces:
        sides[side].append(pa.Table.from_batches([rows]))
    counts = SplitCounts()
    cut_us = cut_time(times, rule.holdout)
    for side, name in ((TRAIN, "train"), (HOLDOUT, "holdout")):
        if not sides[side]:
            continue
        # Files with and without times or weights may be mixed here; the caller refuses them by their reports.
        table = pa.concat_tables(sides[side], promote_options="default")
        if side == HOLDOUT:  # train keeps all rows, because the trainer's --dedupe decides which of them count
            rows = table.num_rows
            table = without_taken_back(table)
            counts += SplitCounts(zero_weight=rows - table.num_rows)
            if not table.num_rows:
                continue
        table, given = fold(table, rule, cut_us)
        users = pc.count_distinct(table.column("user_id")).as_py()
        if side == TRAIN:
            counts += SplitCounts(train_rows=table.num_rows, train_users=users)
        else:
            asked = pc.count_distinct(table.column("user_id").filter(pa.array(~given))).as_py()
            given_rows = int(given.sum())
            counts += SplitCounts(
                given_rows=given_rows,
                target_rows=table.num_rows - given_rows,
                holdout_users=users,
                users_empty_holdout=users - asked,
            )
            table = table.append_column("given", pa.array(given))
        _write(table, f"{folder}/{name}/part-{shard:05d}-of-{SHARDS:05d}.parquet")
    return counts


def _write(table: pa.Table, uri: str) -> None:
    if "timestamp" in table.column_names:  # a type that says its own unit: no flag is needed to read it back
        place = table.column_names.index("timestamp")
        table = table.set_column(place, "timestamp", table.column("timestamp").cast(pa.timestamp("us", tz="UTC")))
    with storage.write_whole(uri) as file:
        pq.write_table(table.combine_chunks(), file, row_group_size=ROW_GROUP_ROWS, compression="zstd", version="2.6")
