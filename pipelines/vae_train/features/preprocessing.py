"""Define the preprocessing function: raw item ids to item indices and side columns.

TF-Transform runs the function over the users and saves its graph. The served model contains the same graph.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from pipelines.vae_train.config import FeatureRules
from pipelines.vae_train.features.side import SideFiles
from transforms.models.import_tensorflow import import_tensorflow

__all__ = ["HISTORY", "ITEM_IDS", "SIDE_PREFIX", "TARGET", "TARGET_IDS", "VOCABULARY", "make_preprocessing_fn"]

HISTORY, TARGET = "history", "target"
ITEM_IDS, TARGET_IDS, SIDE_PREFIX = "item_ids", "target_ids", "side_"
VOCABULARY = "items"
"""Name of the vocabulary in the output of TF-Transform."""


def make_preprocessing_fn(
    rules: FeatureRules, side_files: Mapping[str, SideFiles]
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Create the preprocessing function for TF-Transform.

    The function maps `history` and `target`, RaggedTensors of strings [b, (n)] and [b, (t)], to these RaggedTensors:

    - `item_ids` and `target_ids`, int64: rows of the vocabulary, -1 for an item outside it. The item with the most
      training users is first. Among equal items the larger id in byte order is first.
    - `side_<column>`, int64, aligned with item_ids: 0 if an item has no value.

    Only `target_ids` depends on `target`.

    Args:
        rules: Limits of the vocabulary.
        side_files: Lookup files of each side column.
    """
    return functools.partial(_preprocess, rules=rules, side_files=dict(side_files))


def _preprocess(inputs: Mapping[str, Any], rules: FeatureRules, side_files: Mapping[str, SideFiles]) -> dict[str, Any]:
    tf = import_tensorflow()
    import tensorflow_transform as tft

    history = inputs[HISTORY]
    vocabulary = tft.vocabulary(
        history,
        # Weights of 1 make TF-Transform count in the graph per batch. Without weights, every token would be an element
        # of a Beam collection. The sums are exact: float32 within a batch, Python floats across batches.
        weights=tf.ones_like(history.flat_values, tf.float32),
        top_k=rules.max_items,
        frequency_threshold=rules.min_item_users if rules.min_item_users > 1 else None,
        vocab_filename=VOCABULARY,
    )
    features = {
        ITEM_IDS: tft.apply_vocabulary(history, vocabulary, default_value=-1),
        TARGET_IDS: tft.apply_vocabulary(inputs[TARGET], vocabulary, default_value=-1),
    }
    return features | _look_up_sides(history, side_files)


def _look_up_sides(history: Any, side_files: Mapping[str, SideFiles]) -> dict[str, Any]:
    import tensorflow_transform as tft

    rows_by_path = {}  # one table of ids for all columns
    for place, path in enumerate(sorted({files.items for files in side_files.values()})):
        table = tft.make_and_track_object(functools.partial(_row_table, path), name=f"rows_{place}")
        rows_by_path[path] = table.lookup(history.flat_values)
    sides = {}
    for place, (column, files) in enumerate(side_files.items()):
        table = tft.make_and_track_object(functools.partial(_number_table, files.values), name=f"numbers_{place}")
        sides[SIDE_PREFIX + column] = history.with_flat_values(table.lookup(rows_by_path[files.items]))
    return sides


def _row_table(path: str) -> Any:
    tf = import_tensorflow()
    index = tf.lookup.TextFileIndex
    lines = tf.lookup.TextFileInitializer(path, tf.string, index.WHOLE_LINE, tf.int64, index.LINE_NUMBER)
    return tf.lookup.StaticHashTable(lines, default_value=-1)


def _number_table(path: str) -> Any:
    tf = import_tensorflow()
    lines = tf.lookup.TextFileInitializer(path, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER, tf.int64, 0)
    return tf.lookup.StaticHashTable(lines, default_value=0)
