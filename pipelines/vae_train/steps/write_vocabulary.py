"""Write TF-Transform's vocabulary as a table with the number of training users of each item."""

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
    """Write folder/vocabulary.parquet from the folder of TF-Transform's graph.

    Args:
        counts: Training users by item.
        unavailable: Item ids that are never recommended.
        folder: Where the run writes.
    """

    counts: beam.PCollection[ItemCounts]
    unavailable: pa.StringArray
    folder: str

    def expand(self, saved_model: beam.PCollection[str]) -> beam.PCollection[str]:
        """Return the uri of the table."""
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
