"""Group blocks of interactions into histories, one element for each shard of users, and summarize all users."""

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
    """The outputs of GroupHistories. Each fault is one sentence for the user."""

    histories: beam.PCollection[Histories]
    summary: beam.PCollection[Summary]
    faults: beam.PCollection[str]


@dataclasses.dataclass
class GroupHistories(beam.PTransform[beam.PCollection[pa.RecordBatch], Grouped]):
    """Group blocks into the histories of `shards` shards of users, and one summary of all users."""

    rules: FeatureRules
    split: SplitRule
    shards: int

    def __post_init__(self) -> None:
        if not 1 <= self.shards <= 65_536:
            raise ValueError(f"shards={self.shards} is not between 1 and 65536")

    def expand(self, blocks: beam.PCollection[pa.RecordBatch]) -> Grouped:
        """Return the histories by shard, the summary, and the faults."""
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
    """Apply `merge_histories` to a shard. Weights outside float32 become a fault."""

    def __init__(self, rules: FeatureRules) -> None:
        self._rules = rules
        self._metrics = VaeMetrics()

    def process(
        self, element: tuple[int, Iterable[pa.RecordBatch]]
    ) -> Iterator[Histories | beam.pvalue.TaggedOutput[str, str]]:
        """Yield the histories of a shard, or a fault."""
        histories = merge_histories(list(element[1]), self._rules)
        if histories.weights is not None and len(histories.weights) and histories.weights.max() > LARGEST_WEIGHT:
            yield beam.pvalue.TaggedOutput(
                "faults",
                f"a weight of {histories.weights.max():.3g} is past {LARGEST_WEIGHT:.3g}; scale the weights down",
            )
            return
        self._metrics.grouped(len(histories.users), len(histories.codes), histories.zero_weight)
        yield histories
