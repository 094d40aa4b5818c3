"""Keep the interactions of a sample of users, whose size depends on the number of rows alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa

from pipelines.batch_cf.selection.sample import LogSize, keep_users, merge_sizes, share_of, size_of

__all__ = ["SampleUsers", "Sampled"]


class Sampled(NamedTuple):
    """The outputs of SampleUsers. size has a single value."""

    blocks: beam.PCollection[tuple[bool, pa.RecordBatch]]
    size: beam.PCollection[LogSize]


@dataclasses.dataclass
class SampleUsers(beam.PTransform[beam.PCollection[tuple[bool, pa.RecordBatch]], Sampled]):
    """Sample users by a hash with this seed. The tags of the blocks stay as they are."""

    seed: int

    def expand(self, blocks: beam.PCollection[tuple[bool, pa.RecordBatch]]) -> Sampled:
        """Return the blocks of the sample, and the size of the whole log."""
        size = (
            blocks
            | "SizeOfBlock" >> beam.Map(_size, self.seed)
            | "MergeSizes" >> beam.CombineGlobally(merge_sizes)
        )  # fmt: skip
        kept = blocks | "KeepUsers" >> beam.FlatMap(_keep, beam.pvalue.AsSingleton(size), self.seed)
        return Sampled(kept, size)


def _size(tagged: tuple[bool, pa.RecordBatch], seed: int) -> LogSize:
    return size_of(tagged[1], seed)


def _keep(tagged: tuple[bool, pa.RecordBatch], size: LogSize, seed: int) -> Iterator[tuple[bool, pa.RecordBatch]]:
    kept = keep_users(tagged[1], share_of(size.rows), seed)
    if len(kept):
        yield tagged[0], kept
