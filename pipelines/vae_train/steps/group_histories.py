"""Blocks of interactions to histories, a shard of users an element, and what must be known of all users."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa

from pipelines.vae_train.config import FeatureRules, SplitRule
from pipelines.vae_train.features.histories import LARGEST_WEIGHT, Histories, merge_histories
from pipelines.vae_train.features.splitting import Summary, merge_summaries, summarise
from pipelines.vae_train.metrics import VaeMetrics
from transforms.histories.shards import partition

__all__ = ["GroupHistories", "Grouped", "MergeShardFn"]


class Grouped(NamedTuple):
    """What GroupHistories returns; faults are sentences for the person, one each."""

    histories: beam.PCollection[Histories]
    summary: beam.PCollection[Summary]
    faults: beam.PCollection[str]


@dataclasses.dataclass
class GroupHistories(beam.PTransform[beam.PCollection[pa.RecordBatch], Grouped]):
    """Blocks to the histories of `shards` shards of users, and one summary of all."""

    rules: FeatureRules
    split: SplitRule
    shards: int

    def __post_init__(self) -> None:
        if not 1 <= self.shards <= 65_536:
            raise ValueError(f"shards={self.shards} is not between 1 and 65536")

    def expand(self, blocks: beam.PCollection[pa.RecordBatch]) -> Grouped:
        merged = (
            blocks
            | "PartitionByUser" >> beam.FlatMap(partition, self.shards, self.rules.seed)
            | "GroupByShard" >> beam.GroupByKey()
            | "MergeShard" >> beam.ParDo(MergeShardFn(self.rules)).with_outputs("faults", main="histories")
        )
        summary = (
            merged.histories
            | "Summarise" >> beam.Map(summarise, self.split)
            | "MergeSummaries" >> beam.CombineGlobally(merge_summaries)
        )
        return Grouped(merged.histories, summary, merged.faults)


class MergeShardFn(beam.DoFn):
    """`merge_histories` of a shard; weights that float32 cannot carry become a fault."""

    def __init__(self, rules: FeatureRules) -> None:
        self._rules = rules
        self._metrics = VaeMetrics()

    def process(
        self, element: tuple[int, Iterable[pa.RecordBatch]]
    ) -> Iterator[Histories | beam.pvalue.TaggedOutput[str, str]]:
        histories = merge_histories(list(element[1]), self._rules)
        if histories.weights is not None and len(histories.weights) and histories.weights.max() > LARGEST_WEIGHT:
            yield beam.pvalue.TaggedOutput(
                "faults",
                f"a weight of {histories.weights.max():.3g} is past {LARGEST_WEIGHT:.3g}; scale the weights down",
            )
            return
        self._metrics.grouped(len(histories.users), len(histories.codes))
        yield histories
