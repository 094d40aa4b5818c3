"""Group blocks of interactions into deduplicated histories, one element for each shard of users."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.batch_cf.metrics import CfMetrics
from pipelines.batch_cf.rules import HistoryRules
from pipelines.batch_cf.shards import Kept, keep_histories, largest_timestamp, storable
from transforms.errors import BadInput
from transforms.histories.shards import UserShard, partition
from transforms.runs.facts import name_fault

__all__ = ["GroupByUser", "Grouped", "MergeShardFn", "ShardHistories", "merge_shard"]


@dataclasses.dataclass(frozen=True, eq=False)
class ShardHistories:
    """One shard's users. A user with an interaction that the base run did not have is touched.

    Args:
        stored: What a later run needs, None if no increment is kept.
        after: The users within the limits.
        before: The touched users' histories in the base run, None without a base.
        touched: The touched users' part of `after`, None without a base.
    """

    shard: int
    stored: UserShard | None
    after: UserShard
    before: UserShard | None
    touched: UserShard | None


class Grouped(NamedTuple):
    """The outputs of GroupByUser. The facts are the counts of `shards.Kept`, and faults."""

    shards: beam.PCollection[ShardHistories]
    facts: beam.PCollection[Any]


@dataclasses.dataclass
class GroupByUser(beam.PTransform[beam.PCollection[tuple[bool, pa.RecordBatch]], Grouped]):
    """Group blocks, tagged with whether they come from the base run, into ShardHistories.

    Args:
        until_us: Reference time of the decay in microseconds. None takes the newest time.
        keep: Whether to keep what a later run needs.
    """

    rules: HistoryRules
    shards: int
    until_us: int | None
    keep: bool

    def __post_init__(self) -> None:
        if not 1 <= self.shards <= 65_536:
            raise ValueError(f"shards={self.shards} is not between 1 and 65536")

    def expand(self, blocks: beam.PCollection[tuple[bool, pa.RecordBatch]]) -> Grouped:
        """Return the histories by shard, and the facts."""
        newest = (
            blocks
            | "TakeNewest" >> beam.Map(_newest)
            | "CombineNewest" >> beam.CombineGlobally(_max_time)
        )  # fmt: skip
        merged = (
            blocks
            | "PartitionByUser" >> beam.FlatMap(_partition, self.shards, self.rules.seed)
            | "GroupByShard" >> beam.GroupByKey()
            | "MergeShard" >> beam.ParDo(
                MergeShardFn(self.rules, self.until_us, self.keep), beam.pvalue.AsSingleton(newest)
            ).with_outputs("facts", main="shards")
        )  # fmt: skip
        return Grouped(merged.shards, merged.facts)


class MergeShardFn(beam.DoFn):
    """Apply `merge_shard` to all blocks of a shard. BadInput becomes a fault."""

    def __init__(self, rules: HistoryRules, until_us: int | None, keep: bool) -> None:
        self._rules = rules
        self._keep = keep
        self._until_us = until_us
        self._metrics = CfMetrics()

    def process(
        self, element: tuple[int, Iterable[tuple[bool, pa.RecordBatch]]], newest: int | None
    ) -> Iterator[ShardHistories | beam.pvalue.TaggedOutput[str, Any]]:
        """Yield the histories of a shard with the counts of what was left out, or a fault."""
        shard, tagged = element
        reference_us = self._until_us if self._until_us is not None else newest
        try:
            histories, kept = merge_shard(shard, list(tagged), self._rules, reference_us, self._keep)
        except BadInput as fault:
            yield beam.pvalue.TaggedOutput("facts", name_fault(str(fault)))
            return
        counts = {name: value for name, value in kept._asdict().items() if name != "shard"}
        self._metrics.left_out(counts)
        yield histories
        yield beam.pvalue.TaggedOutput("facts", counts)


def merge_shard(
    shard: int, tagged: list[tuple[bool, pa.RecordBatch]], rules: HistoryRules, reference_us: int | None, keep: bool
) -> tuple[ShardHistories, Kept]:
    """Merge all blocks of a shard, and with a base the touched users before and after."""
    blocks = [block for _, block in tagged]
    stored = storable(blocks, rules) if keep else None
    kept = keep_histories(blocks, rules, reference_us)
    after = kept.shard
    base = [block for from_base, block in tagged if from_base]
    if not base:
        return ShardHistories(shard, stored, after, None, None), kept
    new = [block.column("user_id").dictionary for from_base, block in tagged if not from_base]
    new_users = pa.concat_arrays(new) if new else pa.array([], pa.string())
    before = _of_users(keep_histories(base, rules, reference_us).shard, new_users)
    return ShardHistories(shard, stored, after, before, _of_users(after, new_users)), kept


def _of_users(shard: UserShard, users: pa.StringArray) -> UserShard:
    known = pc.is_in(shard.users, value_set=users).to_numpy(zero_copy_only=False)
    return shard.select(known[shard.user_codes] if len(known) else np.zeros(0, np.bool_))


def _newest(tagged: tuple[bool, pa.RecordBatch]) -> int | None:
    return largest_timestamp(tagged[1])


def _max_time(times: Iterable[int | None]) -> int | None:
    return max((time for time in times if time is not None), default=None)


def _partition(
    tagged: tuple[bool, pa.RecordBatch], shards: int, seed: int
) -> Iterator[tuple[int, tuple[bool, pa.RecordBatch]]]:
    from_base, block = tagged
    for shard, part in partition(block, shards, seed):
        yield shard, (from_base, part)
