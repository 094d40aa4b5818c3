"""Rank the neighbors of numbered histories by broadcast: a worker holds all histories and ranks blocks of item rows.

A worker needs 8 bytes an interaction (24 with weights), 40 bytes a pair of `sums.CHUNK_PAIRS` and 12 bytes an item for
each thread, and a block's result (20 bytes a neighbor).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator

import apache_beam as beam
from apache_beam.utils.shared import Shared

from pipelines.batch_cf.histories import HistoryMatrix, ItemMajor, concatenate, transpose
from pipelines.batch_cf.metrics import CfMetrics
from pipelines.batch_cf.plan import Marginals, Plan, block_bounds, blocks_of
from pipelines.batch_cf.ranking import Neighbors, rank_histories
from pipelines.batch_cf.scoring import Measure, pair_exponent, scoring_of, user_scale_of
from pipelines.batch_cf.steps.number_items import EncodedShard
from transforms import progress

__all__ = ["RankBlockFn", "RankByBroadcast"]


@dataclasses.dataclass
class RankByBroadcast(beam.PTransform[beam.PCollection[EncodedShard], beam.PCollection[Neighbors]]):
    """Rank histories to Neighbors, one element for each block of items."""

    plan: beam.PCollection[Plan]
    marginals: beam.PCollection[Marginals]
    measure: Measure
    threads: int | None

    def expand(self, histories: beam.PCollection[EncodedShard]) -> beam.PCollection[Neighbors]:
        """Return the neighbors by block."""
        neighbors: beam.PCollection[Neighbors] = (
            self.plan
            | "ListBlocks" >> beam.FlatMap(_blocks)
            | "SpreadBlocks" >> beam.Reshuffle()
            | "RankBlock"
            >> beam.ParDo(
                RankBlockFn(self.measure, self.threads),
                beam.pvalue.AsSingleton(self.plan),
                beam.pvalue.AsSingleton(self.marginals),
                beam.pvalue.AsIter(histories),
            )
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
        self, block: int, plan: Plan, marginals: Marginals, shards: Iterable[EncodedShard]
    ) -> Iterator[Neighbors]:
        """Yield the neighbors of a block."""
        matrix = self._shared.acquire(lambda: _Matrix.of(shards, plan, marginals, self._measure))
        self._matrix = matrix  # Shared keeps only a weak reference
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


@dataclasses.dataclass(frozen=True, eq=False)
class _Matrix:
    histories: HistoryMatrix
    by_item: ItemMajor
    user_scale: object

    @staticmethod
    def of(shards: Iterable[EncodedShard], plan: Plan, marginals: Marginals, measure: Measure) -> _Matrix:
        histories = concatenate([shard.whole for shard in shards])
        scale = user_scale_of(histories, pair_exponent(plan, marginals, measure), measure.user_exponent)
        return _Matrix(histories, transpose(histories, len(plan.items)), scale)


def _blocks(plan: Plan) -> Iterable[int]:
    return range(blocks_of(len(plan.items))) if len(plan.items) else ()
