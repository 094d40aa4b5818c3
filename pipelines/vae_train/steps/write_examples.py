"""Write transformed batches to example files, each under a fixed name and by rename, so that a retry is harmless."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa

from pipelines.vae_train.features.examples import Records, encode, file_name, write_records
from pipelines.vae_train.features.splitting import SPLITS, Division
from pipelines.vae_train.metrics import VaeMetrics
from transforms.files import storage

__all__ = ["EncodeFn", "WriteExamples"]


@dataclasses.dataclass
class WriteExamples(beam.PTransform[beam.PCollection[pa.RecordBatch], beam.PCollection[tuple[str, Any]]]):
    """Write batches to folder/examples/SPLIT-SSSSS-of-NNNNN.gz. The output is facts.

    A file without users is empty.
    """

    division: beam.PCollection[Division]
    folder: str

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[tuple[str, Any]]:
        """Return the facts."""
        division = beam.pvalue.AsSingleton(self.division)
        encoded = batches | "EncodeExamples" >> beam.ParDo(EncodeFn(), division).with_outputs("facts", main="records")
        # Write every file of a split, even without users, because a reader expects all N files.
        empty = self.division | "NameFiles" >> beam.FlatMap(_name_files)
        written = (
            (encoded.records, empty)
            | "FlattenRecords" >> beam.Flatten()
            | "GroupByFile" >> beam.GroupByKey()
            | "WriteFile" >> beam.Map(_write_file, division, self.folder)
        )
        facts: beam.PCollection[tuple[str, Any]] = (encoded.facts, written) | "FlattenFacts" >> beam.Flatten()
        return facts


class EncodeFn(beam.DoFn):
    """Apply `encode` to a batch and count the results."""

    def __init__(self) -> None:
        self._metrics = VaeMetrics()

    def process(
        self, batch: pa.RecordBatch, division: Division
    ) -> Iterator[tuple[tuple[int, int], Records] | beam.pvalue.TaggedOutput[str, tuple[str, int]]]:
        """Yield the records of a batch by file, and the facts."""
        for place, records in encode(batch, division.files):
            if place is None:
                yield beam.pvalue.TaggedOutput("facts", ("users_without_known_items", len(records.keys)))
            else:
                self._metrics.encoded(len(records.keys))
                yield place, records


def _name_files(division: Division) -> Iterator[tuple[tuple[int, int], Records]]:
    for split, files in enumerate(division.files):
        for file in range(files):
            yield (split, file), Records.none()


def _write_file(grouped: tuple[tuple[int, int], Iterable[Records]], division: Division, folder: str) -> tuple[str, Any]:
    (split, file), parts = grouped
    name = file_name(split, file, division.files[split])
    return f"{SPLITS[split]}_users", write_records(list(parts), storage.join(folder, "examples", name))
