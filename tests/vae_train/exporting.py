"""Features folders and small models for the tests of the export: the real pipeline on interactions given here."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from pipelines.vae_train.config import FeatureRules, SplitRule
from pipelines.vae_train.features.items import FILE, read_vocabulary
from pipelines.vae_train.features.side import write_sides
from pipelines.vae_train.pipeline import Job, build
from transforms.interactions.files import match
from transforms.interactions.format import InteractionFormat

FN_API_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def write_features(
    folder: pathlib.Path,
    interactions: str,
    unavailable: Sequence[str] = (),
    items: pa.Table | None = None,
    validation_fraction: float = 0.1,
) -> str:
    """What vae_train's pipeline makes of these files. items: a catalogue all of whose columns are side columns."""
    columns = tuple(name for name in items.column_names if name != "item_id") if items is not None else ()
    (folder / "transform").mkdir(parents=True)
    job = Job(
        files=match([interactions]),
        format=InteractionFormat(),
        rules=FeatureRules(side_columns=columns),
        split=SplitRule("user", validation_fraction=validation_fraction),
        folder=str(folder),
        side_files=write_sides(items, columns, str(folder / "transform")) if items is not None else {},
        unavailable=pa.array(list(unavailable), pa.string()),
        user_shards=1,
    )
    with beam.Pipeline(runner=FN_API_RUNNER) as root:
        build(root, job)
    return str(folder)


def write_histories(path: pathlib.Path, histories: Mapping[str, Sequence[str]]) -> str:
    """Interactions of users, oldest first, as one Parquet file; returns its path."""
    rows = [(user, item, second) for user, items in histories.items() for second, item in enumerate(items)]
    columns = {name: [row[place] for row in rows] for place, name in enumerate(("user_id", "item_id", "timestamp"))}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return str(path)


def set_unavailable(features: pathlib.Path, unavailable: Sequence[str]) -> None:
    """Say in the vocabulary which items are not to be recommended."""
    vocabulary = read_vocabulary(str(features))
    available = pa.array([one not in set(unavailable) for one in vocabulary.ids.to_pylist()])
    table = pa.table({"item_id": vocabulary.ids, "users": vocabulary.users, "available": available})
    pq.write_table(table, features / FILE)


def unchecked() -> Any:
    """Leave the fresh process out of `export_model`: at least 4 s a model, where a test looks at the model itself."""
    return mock.patch("pipelines.vae_train.export.saved_model.verify")


class IntegerModel(tf.Module):
    """Scores that are whole numbers, so that any order of summation gives the same and equal ones are frequent.

    The score of item j is base[j] + the sum over the history of (place from the oldest, from 1) x weights[item, j].
    """

    def __init__(self, base: np.ndarray, weights: np.ndarray) -> None:
        super().__init__()
        self.base = tf.Variable(base, dtype=tf.float32, trainable=False)
        self.weights = tf.Variable(weights, dtype=tf.float32, trainable=False)
        self.unread = tf.Variable(np.zeros(100_000), trainable=False)  # 800 KB that no signature reads

    def scores(self, item_ids: Any, sides: Mapping[str, Any]) -> Any:
        """float32 [b, items]."""
        places = tf.cast(tf.ragged.range(item_ids.row_lengths()).values + 1, tf.float32)
        rows = tf.gather(self.weights, item_ids.values) * places[:, tf.newaxis]
        return self.base + tf.math.unsorted_segment_sum(rows, item_ids.value_rowids(), item_ids.nrows())
