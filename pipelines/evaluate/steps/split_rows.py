"""Divide interactions into the files of train and holdout."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import apache_beam as beam
import pyarrow as pa

from pipelines.evaluate.split_files import divide_block, write_shard
from pipelines.evaluate.splitting import SplitRule, TimeCounts, merge_times, time_counts

__all__ = ["SplitRows"]


@dataclasses.dataclass
class SplitRows(beam.PTransform[beam.PCollection[pa.RecordBatch], beam.PCollection[dict[str, int]]]):
    """Write blocks of interactions to folder/train and folder/holdout.

    The output has the counts of each shard of users, as facts.

    Args:
        rule: Which rows are held out.
        folder: Where the files are written.
    """

    rule: SplitRule
    folder: str

    def expand(self, blocks: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[dict[str, int]]:
        """Return the facts."""
        counted = blocks | "CountTimes" >> beam.FlatMap(_count_times)
        times = beam.pvalue.AsSingleton(counted | "MergeTimes" >> beam.CombineGlobally(merge_times))
        pieces = blocks | "DivideBlock" >> beam.FlatMap(divide_block, self.rule, times)
        shards = pieces | "GroupByShard" >> beam.GroupByKey()
        counts = shards | "WriteShard" >> beam.Map(write_shard, self.rule, times, self.folder)
        facts: beam.PCollection[dict[str, int]] = counts | "NameCounts" >> beam.Map(dataclasses.asdict)
        return facts


def _count_times(block: pa.RecordBatch) -> Iterator[TimeCounts]:
    if "timestamp" in block.schema.names:
        yield time_counts(block)
