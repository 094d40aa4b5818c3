"""TF-Transform's vocabulary as a table with how many train on each item."""

from __future__ import annotations

import dataclasses

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.vae_train.features.items import FILE, ItemCounts, vocabulary_table
from pipelines.vae_train.features.preprocessing import VOCABULARY
from transforms.files import storage

__all__ = ["WriteVocabulary"]


@dataclasses.dataclass
class WriteVocabulary(beam.PTransform[beam.PCollection[str], beam.PCollection[str]]):
    """The folder of TF-Transform's graph to folder/vocabulary.parquet. unavailable: ids never recommended."""

    counts: beam.PCollection[ItemCounts]
    unavailable: pa.StringArray
    folder: str

    def expand(self, saved_model: beam.PCollection[str]) -> beam.PCollection[str]:
        written: beam.PCollection[str] = saved_model | "WriteVocabularyTable" >> beam.Map(
            _write_vocabulary, beam.pvalue.AsSingleton(self.counts), self.unavailable, self.folder
        )
        return written


def _write_vocabulary(saved_model: str, counts: ItemCounts, unavailable: pa.StringArray, folder: str) -> str:
    with storage.open_read(storage.join(saved_model, "assets", VOCABULARY)) as file:
        lines = file.read().split(b"\n")
    ids = pa.array(lines[:-1], pa.binary()).cast(pa.string())
    uri = storage.join(folder, FILE)
    with storage.write_whole(uri) as file:
        pq.write_table(vocabulary_table(ids, counts, unavailable), file, row_group_size=100_000, compression="zstd")
    return uri
