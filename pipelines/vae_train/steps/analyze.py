"""Run TF-Transform over the users: analyze the vocabulary of training users, write the graph, transform every split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa

from pipelines.vae_train.config import FeatureRules
from pipelines.vae_train.features.examples import PASSED, tensor_adapter_config
from pipelines.vae_train.features.preprocessing import make_preprocessing_fn
from pipelines.vae_train.features.side import SideFiles
from transforms.files import storage
from transforms.models.import_tensorflow import import_tensorflow

__all__ = ["TransformUsers", "Transformed"]


class Transformed(NamedTuple):
    """The outputs of TransformUsers.

    Args:
        batches: item_ids, target_ids, side columns and the columns of PASSED.
        saved_model: The folder of TF-Transform's graph while the pipeline runs.
    """

    batches: beam.PCollection[pa.RecordBatch]
    saved_model: beam.PCollection[str]


@dataclasses.dataclass
class TransformUsers(beam.PTransform[beam.PCollection[pa.RecordBatch], Transformed]):
    """Analyze training batches of RAW_SCHEMA, then transform them and the held-out batches.

    The graph is written to folder/transform. TF-Transform's own files go to folder/tft_temp while it runs.
    """

    held_out: beam.PCollection[pa.RecordBatch]
    rules: FeatureRules
    side_files: Mapping[str, SideFiles]
    folder: str

    def expand(self, train: beam.PCollection[pa.RecordBatch]) -> Transformed:
        """Return the transformed batches and the folder of the graph."""
        import_tensorflow()
        import tensorflow_transform.beam as tft

        tft_beam: Any = tft  # it has no types
        config = tensor_adapter_config()
        users = (train, self.held_out) | "FlattenSplits" >> beam.Flatten()
        with tft_beam.Context(temp_dir=storage.join(self.folder, "tft_temp"), passthrough_keys=set(PASSED)):
            transform_fn: Any = (train, config) | "AnalyzeDataset" >> tft_beam.AnalyzeDataset(
                make_preprocessing_fn(self.rules, self.side_files)
            )
            transformed = ((users, config), transform_fn) | "TransformDataset" >> tft_beam.TransformDataset(
                output_record_batches=True
            )
        _ = transform_fn | "WriteTransformFn" >> tft_beam.WriteTransformFn(storage.join(self.folder, "transform"))
        batches = transformed[0] | "TakeBatches" >> beam.Keys()
        return Transformed(batches, transform_fn[0])
