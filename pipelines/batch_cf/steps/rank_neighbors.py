"""Rank the neighbors of numbered histories with one of two strategies. Both give the same answer.

Broadcast: every worker holds the whole matrix once and ranks blocks of item rows. A worker needs 8 bytes an interaction
(24 with weights), 40 bytes a pair of `sums.CHUNK_PAIRS` and 12 bytes an item for each thread, and a block's result (20
bytes a neighbor).

Shuffle: every shard of users sends its partial sums per block of items, which are added before the ranking. A worker
needs 40 bytes for each pair of one block of 4,096 items while they are added, and SumPairsFn.FLUSH_BYTES.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
from collections.abc import Iterable, Iterator

import apache_beam as beam
from apache_beam.utils.shared import Shared

from pipelines.batch_cf import increment, sums
from pipelines.batch_cf.histories import HistoryMatrix, ItemMajor, concatenate, transpose
from pipelines.batch_cf.metrics import CfMetrics
from pipelines.batch_cf.plan import Marginals, Plan, block_bounds, blocks_of
from pipelines.batch_cf.ranking import Neighbors, join, rank_histories, rank_sums
from pipelines.batch_cf.scoring import Measure, pair_exponent, scoring_of, user_scale_of
from pipelines.batch_cf.steps.number_items import EncodedShard
from transforms import progress

__all__ = [
    "CheckBase",
    "EmitPairsFn",
    "RankBlockFn",
    "RankBlockSumsFn",
    "RankByBroadcast",
    "RankSums",
    "SumPairs",
    "SumPairsFn",
]


@dataclasses.dataclass
class RankByBroadcast(beam.PTransform[beam.PCollection[EncodedShard], beam.PCollection[Neighbors]]):
    """Rank histories to Neighbors, one element for each block of items.

    The output is empty unless the plan is broadcast.
    """

    plan: beam.PCollection[Plan]
    marginals: beam.PCollection[Marginals]
    measure: Measure
    threads: int | None

    def expand(self, histories: beam.PCollection[EncodedShard]) -> beam.PCollection[Neighbors]:
        """Return the neighbors by block."""
        matrix = histories | "KeepForBroadcast" >> beam.FlatMap(_broadcast, beam.pvalue.AsSingleton(self.plan))
        neighbors: beam.PCollection[Neighbors] = (
            self.plan
            | "ListBlocks" >> beam.FlatMap(_broadcast_blocks)
            | "SpreadBlocks" >> beam.Reshuffle()
            | "RankBlock"
            >> beam.ParDo(
                RankBlockFn(self.measure, self.threads),
                beam.pvalue.AsSingleton(self.plan),
                beam.pvalue.AsSingleton(self.marginals),
                beam.pvalue.AsIter(matrix),
            )
        )
        return neighbors


@dataclasses.dataclass
class CheckBase(beam.PTransform[beam.PCollection[Plan], beam.PCollection[tuple[bool, list[str]]]]):
    """Check whether the base's sums can be used in this run. The output is the verdict with notes for the user."""

    marginals: beam.PCollection[Marginals]
    measure: Measure
    base: increment.Base | None
    capped: bool

    def expand(self, plan: beam.PCollection[Plan]) -> beam.PCollection[tuple[bool, list[str]]]:
        """Return the verdict, a single value."""
        verdict: beam.PCollection[tuple[bool, list[str]]] = plan | "CompareWithBase" >> beam.Map(
            _check_base, beam.pvalue.AsSingleton(self.marginals), self.measure, self.base, self.capped
        )
        return verdict


@dataclasses.dataclass
class SumPairs(beam.PTransform[beam.PCollection[EncodedShard], beam.PCollection[tuple[int, sums.PairSums]]]):
    """Sum pairs over all shards and the base to (block, PairSums). The output is empty unless the plan is shuffle.

    Args:
        verdict: Output of CheckBase. Where the base's sums cannot be used, every history is summed again.
    """

    plan: beam.PCollection[Plan]
    marginals: beam.PCollection[Marginals]
    measure: Measure
    base: increment.Base | None
    verdict: beam.PCollection[tuple[bool, list[str]]]

    def expand(self, histories: beam.PCollection[EncodedShard]) -> beam.PCollection[tuple[int, sums.PairSums]]:
        """Return the sums by block."""
        plan, marginals = beam.pvalue.AsSingleton(self.plan), beam.pvalue.AsSingleton(self.marginals)
        verdict = beam.pvalue.AsSingleton(self.verdict)
        partial = histories | "EmitPairs" >> beam.ParDo(EmitPairsFn(self.measure), plan, marginals, verdict)
        nothing = self.plan | "EmitEmptyBlocks" >> beam.FlatMap(_empty_blocks)
        parts = [partial, nothing]
        if self.base is not None:
            stored = self.plan.pipeline | "ListBaseSums" >> beam.Create(list(self.base.sums_files))
            parts.append(stored | "ReadBaseSums" >> beam.FlatMap(_read_base_sums, plan, verdict, self.base))
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


class RankBlockFn(beam.DoFn):
    """Rank the item rows of a block against the whole matrix, which the worker process builds once and shares."""

    def __init__(self, measure: Measure, threads: int | None) -> None:
        self._measure = measure
        self._threads = threads
        self._shared = Shared()
        self._metrics = CfMetrics()

    def process(
        self, block: int, plan: Plan, marginals: Marginals, parts: Iterable[HistoryMatrix]
    ) -> Iterator[Neighbors]:
        """Yield the neighbors of a block."""
        matrix = self._shared.acquire(lambda: _Matrix.of(parts, plan, marginals, self._measure))
        self._matrix = matrix  # Shared keeps it only as long as somebody does
        start, stop = block_bounds(block, len(plan.items))
        progress.expect("items ranked", len(plan.items))
        neighbors = rank_histories(
            matrix.histories,
            matrix.by_item,
            start,
            stop,
            scoring_of(plan, marginals, self._measure),
            matrix.user_scale,
            self._threads or os.cpu_count() or 1,
            on_rows=self._metrics.ranked,
        )
        yield neighbors


class EmitPairsFn(beam.DoFn):
    """Sum the pairs of a shard's users by block, of touched users alone where the base's sums are used."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._metrics = CfMetrics()

    def process(
        self, shard: EncodedShard, plan: Plan, marginals: Marginals, verdict: tuple[bool, list[str]]
    ) -> Iterator[tuple[int, sums.PairSums]]:
        """Yield (block, PairSums) of a shard."""
        if plan.strategy != "shuffle":
            return
        exponent = pair_exponent(plan, marginals, self._measure)
        if verdict[0] and shard.added is not None and shard.removed is not None:
            yield from self._emit(shard.added, plan, exponent, subtract=False)
            yield from self._emit(shard.removed, plan, exponent, subtract=True)
        else:  # no base that holds, or a shard of which the base knows no user
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


@dataclasses.dataclass(frozen=True, eq=False)
class _Matrix:
    histories: HistoryMatrix
    by_item: ItemMajor
    user_scale: object

    @staticmethod
    def of(parts: Iterable[HistoryMatrix], plan: Plan, marginals: Marginals, measure: Measure) -> _Matrix:
        histories = concatenate(list(parts))
        scale = user_scale_of(histories, pair_exponent(plan, marginals, measure), measure.user_exponent)
        return _Matrix(histories, transpose(histories, len(plan.items)), scale)


def _broadcast(shard: EncodedShard, plan: Plan) -> Iterator[HistoryMatrix]:
    if plan.strategy == "broadcast":
        yield shard.whole


def _broadcast_blocks(plan: Plan) -> Iterator[int]:
    if plan.strategy == "broadcast" and len(plan.items):
        yield from range(blocks_of(len(plan.items)))


def _empty_blocks(plan: Plan) -> Iterator[tuple[int, sums.PairSums]]:
    if plan.strategy == "shuffle" and len(plan.items):
        for block in range(blocks_of(len(plan.items))):
            start, stop = block_bounds(block, len(plan.items))
            yield block, sums.empty(len(plan.items), start, stop - start)


def _check_base(
    plan: Plan, marginals: Marginals, measure: Measure, base: increment.Base | None, capped: bool
) -> tuple[bool, list[str]]:
    if base is None:
        return False, []
    per_user = capped or measure.user_exponent is not None
    reason = base.why_not(plan, pair_exponent(plan, marginals, measure), per_user)
    return reason is None, [f"recomputed in full: {reason}" if reason else f"added to the sums of {base.folder}"]


def _read_base_sums(
    uri: str, plan: Plan, verdict: tuple[bool, list[str]], base: increment.Base
) -> Iterator[tuple[int, sums.PairSums]]:
    if plan.strategy == "shuffle" and verdict[0]:
        yield from increment.read_sums(uri, base, plan)
