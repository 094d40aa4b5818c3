"""Rank the neighbors of numbered histories by shuffle: sum pairs by block of items over all shards, then rank the sums.

Every shard of users sends its partial sums of each block of items. A worker needs 40 bytes for each pair of one block
of 4,096 items while they are added, and SumPairsFn.FLUSH_BYTES. A run that builds on a base adds the base's sums and
those of the users who changed.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
from collections.abc import Iterable, Iterator

import apache_beam as beam

from pipelines.batch_cf import increment, sums
from pipelines.batch_cf.histories import HistoryMatrix, transpose
from pipelines.batch_cf.metrics import CfMetrics
from pipelines.batch_cf.plan import Marginals, Plan, block_bounds, blocks_of
from pipelines.batch_cf.ranking import Neighbors, join, rank_sums
from pipelines.batch_cf.scoring import Measure, pair_exponent, scoring_of, user_scale_of
from pipelines.batch_cf.steps.number_items import EncodedShard
from transforms import progress

__all__ = ["CompareWithBase", "EmitPairsFn", "RankBlockSumsFn", "RankSums", "SumPairs", "SumPairsFn"]


@dataclasses.dataclass
class CompareWithBase(beam.PTransform[beam.PCollection[Plan], beam.PCollection[str | None]]):
    """Return why the base's sums cannot be used in this run, a single value. None if they can be used.

    Args:
        capped: Whether histories are capped.
    """

    marginals: beam.PCollection[Marginals]
    measure: Measure
    base: increment.Base
    capped: bool

    def expand(self, plan: beam.PCollection[Plan]) -> beam.PCollection[str | None]:
        """Return the reason."""
        reason: beam.PCollection[str | None] = plan | "WhyNot" >> beam.Map(
            _why_not, beam.pvalue.AsSingleton(self.marginals), self.measure, self.base, self.capped
        )
        return reason


@dataclasses.dataclass
class SumPairs(beam.PTransform[beam.PCollection[EncodedShard], beam.PCollection[tuple[int, sums.PairSums]]]):
    """Sum pairs over all shards to (block, PairSums).

    Args:
        base: The base whose sums are added, None without one.
        why_not: Output of CompareWithBase, None without a base. If the base's sums cannot be used, every history is
            summed again.
    """

    plan: beam.PCollection[Plan]
    marginals: beam.PCollection[Marginals]
    measure: Measure
    base: increment.Base | None = None
    why_not: beam.PCollection[str | None] | None = None

    def expand(self, histories: beam.PCollection[EncodedShard]) -> beam.PCollection[tuple[int, sums.PairSums]]:
        """Return the sums by block."""
        plan, marginals = beam.pvalue.AsSingleton(self.plan), beam.pvalue.AsSingleton(self.marginals)
        parts = [self.plan | "EmitEmptyBlocks" >> beam.FlatMap(_empty_blocks)]
        if self.base is None or self.why_not is None:
            parts.append(histories | "EmitPairs" >> beam.ParDo(EmitPairsFn(self.measure), plan, marginals))
        else:
            why_not = beam.pvalue.AsSingleton(self.why_not)
            parts.append(histories | "EmitPairs" >> beam.ParDo(EmitPairsFn(self.measure), plan, marginals, why_not))
            stored = self.plan.pipeline | "ListBaseSums" >> beam.Create(list(self.base.sums_files))
            parts.append(stored | "ReadBaseSums" >> beam.FlatMap(_read_base_sums, plan, why_not, self.base))
        flat = parts | "FlattenPairs" >> beam.Flatten()
        summed: beam.PCollection[tuple[int, sums.PairSums]] = flat | "SumPerBlock" >> beam.CombinePerKey(
            SumPairsFn()  # type: ignore[no-untyped-call]
        )
        return summed


@dataclasses.dataclass
class RankSums(beam.PTransform[beam.PCollection[tuple[int, sums.PairSums]], beam.PCollection[Neighbors]]):
    """Rank (block, PairSums) to Neighbors."""

    plan: beam.PCollection[Plan]
    marginals: beam.PCollection[Marginals]
    measure: Measure
    threads: int | None

    def expand(self, pairs: beam.PCollection[tuple[int, sums.PairSums]]) -> beam.PCollection[Neighbors]:
        """Return the neighbors by block."""
        neighbors: beam.PCollection[Neighbors] = pairs | "RankBlockSums" >> beam.ParDo(
            RankBlockSumsFn(self.measure, self.threads),
            beam.pvalue.AsSingleton(self.plan),
            beam.pvalue.AsSingleton(self.marginals),
        )
        return neighbors


class EmitPairsFn(beam.DoFn):
    """Sum the pairs of a shard's users by block. Where the base's sums are used, sum only those of changed users."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._metrics = CfMetrics()

    def process(
        self, shard: EncodedShard, plan: Plan, marginals: Marginals, why_not: str | None = "there is no base"
    ) -> Iterator[tuple[int, sums.PairSums]]:
        """Yield (block, PairSums) of a shard."""
        exponent = pair_exponent(plan, marginals, self._measure)
        if why_not is None and shard.added is not None and shard.removed is not None:
            yield from self._emit(shard.added, plan, exponent, subtract=False)
            yield from self._emit(shard.removed, plan, exponent, subtract=True)
        else:  # the base's sums are not used, or they hold no user of this shard
            yield from self._emit(shard.whole, plan, exponent, subtract=False)

    def _emit(
        self, histories: HistoryMatrix, plan: Plan, exponent: int | None, subtract: bool
    ) -> Iterator[tuple[int, sums.PairSums]]:
        items = len(plan.items)
        if not len(histories.items):
            return
        by_item = transpose(histories, items)
        scale = user_scale_of(histories, exponent, self._measure.user_exponent)
        for block in range(blocks_of(items)):
            start, stop = block_bounds(block, items)
            if by_item.indptr[start] == by_item.indptr[stop]:
                continue
            part = sums.gather(sums.sum_rows(histories, by_item, start, stop, scale))
            self._metrics.partial_pairs.inc(len(part.columns))
            yield block, sums.negate(part) if subtract else part


class SumPairsFn(beam.CombineFn):
    """Add up the partial sums of a block. The accumulator holds parts, which are added once they exceed FLUSH_BYTES."""

    FLUSH_BYTES = 64 << 20

    def create_accumulator(self) -> list[sums.PairSums]:
        """Return an empty list."""
        return []

    def add_input(self, parts: list[sums.PairSums], part: sums.PairSums) -> list[sums.PairSums]:
        """Append a part, and add up the parts if they exceed FLUSH_BYTES."""
        parts.append(part)
        pending = sum(each.nbytes for each in parts[1:])
        return [sums.add(parts)] if pending > max(self.FLUSH_BYTES, parts[0].nbytes) else parts

    def merge_accumulators(self, accumulators: Iterable[list[sums.PairSums]]) -> list[sums.PairSums]:
        """Join the lists, and add up the parts once they exceed FLUSH_BYTES."""
        merged: list[sums.PairSums] = []
        for parts in accumulators:
            for part in parts:
                merged = self.add_input(merged, part)
        return merged

    def compact(self, parts: list[sums.PairSums]) -> list[sums.PairSums]:
        """Add up the parts before they are sent to another worker."""
        return [sums.add(parts)] if len(parts) > 1 else parts

    def extract_output(self, parts: list[sums.PairSums]) -> sums.PairSums:
        """Return the sum of the parts."""
        return sums.add(parts)


class RankBlockSumsFn(beam.DoFn):
    """Rank a block's final sums, in chunks that fit the cache, on several threads."""

    def __init__(self, measure: Measure, threads: int | None) -> None:
        self._measure = measure
        self._threads = threads
        self._metrics = CfMetrics()

    def process(self, element: tuple[int, sums.PairSums], plan: Plan, marginals: Marginals) -> Iterator[Neighbors]:
        """Yield the neighbors of a block."""
        _, part = element
        scoring = scoring_of(plan, marginals, self._measure)
        progress.expect("items ranked", len(plan.items))
        with concurrent.futures.ThreadPoolExecutor(self._threads or os.cpu_count()) as pool:
            ranked = list(pool.map(lambda chunk: rank_sums(chunk, scoring), sums.chunks(part)))
        neighbors = join(ranked) if ranked else rank_sums(part, scoring)
        self._metrics.ranked(len(neighbors.lengths), neighbors.pairs)
        yield neighbors


def _empty_blocks(plan: Plan) -> Iterator[tuple[int, sums.PairSums]]:
    if len(plan.items):
        for block in range(blocks_of(len(plan.items))):
            start, stop = block_bounds(block, len(plan.items))
            yield block, sums.empty(len(plan.items), start, stop - start)


def _why_not(plan: Plan, marginals: Marginals, measure: Measure, base: increment.Base, capped: bool) -> str | None:
    per_user = capped or measure.user_exponent is not None
    return base.why_not(plan, pair_exponent(plan, marginals, measure), per_user)


def _read_base_sums(
    uri: str, plan: Plan, why_not: str | None, base: increment.Base
) -> Iterator[tuple[int, sums.PairSums]]:
    if why_not is None:
        yield from increment.read_sums(uri, base, plan)
