"""Number the items of all shards, encode the histories, and sum the marginals that scores need."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa

from pipelines.batch_cf.encoding import encode
from pipelines.batch_cf.histories import HistoryMatrix
from pipelines.batch_cf.metrics import CfMetrics
from pipelines.batch_cf.plan import (
    Marginals,
    Plan,
    Totals,
    make_plan,
    merge_marginals,
    merge_totals,
    totals_of,
)
from pipelines.batch_cf.rules import HistoryRules
from pipelines.batch_cf.steps.group_by_user import ShardHistories

__all__ = [
    "EncodeHistories",
    "EncodeShardFn",
    "EncodedShard",
    "MergeMarginalsFn",
    "MergeTotalsFn",
    "NumberItems",
    "Numbered",
]


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedShard:
    """Numbered, capped histories of a shard.

    Args:
        whole: The histories of all users.
        added: New histories of touched users, whose pairs an increment adds. None without a base.
        removed: Old histories of touched users, whose pairs an increment subtracts. None without a base.
    """

    whole: HistoryMatrix
    added: HistoryMatrix | None
    removed: HistoryMatrix | None


class Numbered(NamedTuple):
    """The outputs of EncodeHistories. `marginals` has a single value."""

    histories: beam.PCollection[EncodedShard]
    marginals: beam.PCollection[Marginals]


@dataclasses.dataclass
class NumberItems(beam.PTransform[beam.PCollection[ShardHistories], beam.PCollection[Plan]]):
    """Make the Plan, a single value, from all shards."""

    rules: HistoryRules
    unavailable: pa.StringArray

    def expand(self, shards: beam.PCollection[ShardHistories]) -> beam.PCollection[Plan]:
        """Return the plan."""
        totals = (
            shards
            | "TotalsPerShard" >> beam.Map(_totals, self.rules.max_items_per_user)
            | "MergeTotals" >> beam.CombineGlobally(MergeTotalsFn())  # type: ignore[no-untyped-call]
        )  # fmt: skip
        plan: beam.PCollection[Plan] = totals | "MakePlan" >> beam.Map(make_plan, self.rules, self.unavailable)
        return plan


@dataclasses.dataclass
class EncodeHistories(beam.PTransform[beam.PCollection[ShardHistories], Numbered]):
    """Encode shards as numbered histories and sum their marginals.

    Args:
        plan: The numbers of the items.
        rules: Which interactions make a history.
        user_exponent: See `encoding.user_factors`.
    """

    plan: beam.PCollection[Plan]
    rules: HistoryRules
    user_exponent: float | None

    def expand(self, shards: beam.PCollection[ShardHistories]) -> Numbered:
        """Return the numbered histories by shard, and the marginals of all."""
        encoded = shards | "EncodeShard" >> beam.ParDo(
            EncodeShardFn(self.rules, self.user_exponent), beam.pvalue.AsSingleton(self.plan)
        ).with_outputs("marginals", main="histories")
        marginals = encoded.marginals | "MergeMarginals" >> beam.CombineGlobally(MergeMarginalsFn())  # type: ignore[no-untyped-call]
        return Numbered(encoded.histories, marginals)


class EncodeShardFn(beam.DoFn):
    """Apply `encode` to a whole shard and, in an incremental run, to its touched users before and after."""

    def __init__(self, rules: HistoryRules, user_exponent: float | None) -> None:
        self._rules = rules
        self._user_exponent = user_exponent
        self._metrics = CfMetrics()

    def process(
        self, shard: ShardHistories, plan: Plan
    ) -> Iterator[EncodedShard | beam.pvalue.TaggedOutput[str, Marginals]]:
        """Yield the encoded shard and its marginals."""
        whole, marginals = encode(shard.after, plan, self._rules, self._user_exponent)
        added = removed = None
        if shard.touched is not None and shard.before is not None:
            added, _ = encode(shard.touched, plan, self._rules, self._user_exponent)
            removed, _ = encode(shard.before, plan, self._rules, self._user_exponent)
        self._metrics.users.inc(marginals.users)
        self._metrics.interactions.inc(len(whole.items))
        yield EncodedShard(whole, added, removed)
        yield beam.pvalue.TaggedOutput("marginals", marginals)


class MergeTotalsFn(beam.CombineFn):
    """Merge the totals of all shards. The accumulator is a list that is merged when it grows long."""

    MOST_PARTS = 64

    def create_accumulator(self) -> list[Totals]:
        """Return an empty list."""
        return []

    def add_input(self, parts: list[Totals], part: Totals) -> list[Totals]:
        """Append the totals of a shard, and merge the list once it holds MOST_PARTS."""
        parts.append(part)
        return [merge_totals(parts)] if len(parts) >= self.MOST_PARTS else parts

    def merge_accumulators(self, accumulators: Iterable[list[Totals]]) -> list[Totals]:
        """Merge the parts of all lists."""
        return [merge_totals([part for parts in accumulators for part in parts])]

    def extract_output(self, parts: list[Totals]) -> Totals:
        """Merge the list to the totals of all shards."""
        return merge_totals(parts)


class MergeMarginalsFn(beam.CombineFn):
    """Merge the marginals of all shards."""

    def create_accumulator(self) -> Marginals:
        """Return marginals of no shard."""
        return merge_marginals([])

    def add_input(self, merged: Marginals, part: Marginals) -> Marginals:
        """Add the marginals of a shard."""
        return merge_marginals([merged, part])

    def merge_accumulators(self, accumulators: Iterable[Marginals]) -> Marginals:
        """Merge the accumulators."""
        return merge_marginals(accumulators)

    def extract_output(self, merged: Marginals) -> Marginals:
        """Return the marginals of all shards."""
        return merged


def _totals(shard: ShardHistories, max_items_per_user: int | None) -> Totals:
    return totals_of(shard.after, max_items_per_user)
