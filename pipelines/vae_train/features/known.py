"""Reduce a history to the items in the vocabulary, each once, with the same operations in training and serving."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

__all__ = ["known_history"]


def known_history(
    item_ids: tf.RaggedTensor, aligned: Mapping[str, tf.RaggedTensor]
) -> tuple[tf.RaggedTensor, dict[str, tf.RaggedTensor]]:
    """Drop items outside the vocabulary, and keep only the last (newest) place of a repeated item.

    The order of items does not change. Each position is compared with the largest position of the same row and item,
    so no sort is needed.

    Args:
        item_ids: RaggedTensor int64 [b, (n)], -1 for an item outside the vocabulary.
        aligned: Further values of the same places (side columns, weights).

    Returns:
        Both, as RaggedTensors [b, (m)]. Item ids are at least 0 and distinct within a row.
    """
    rows = item_ids.value_rowids()
    values = item_ids.values
    known = tf.where(values >= 0)[:, 0]
    rows, values = tf.gather(rows, known), tf.gather(values, known)
    # (row, item) as one number. It cannot overflow with rows and items below 2^31.
    width = tf.reduce_max(tf.concat([values, [0]], 0)) + 1
    distinct, which = tf.unique(rows * width + values, out_idx=tf.int64)
    places = tf.range(tf.size(values, tf.int64), dtype=tf.int64)
    newest = tf.math.unsorted_segment_max(places, which, tf.size(distinct, tf.int64))
    kept = tf.where(tf.gather(newest, which) == places)[:, 0]
    rows, sources = tf.gather(rows, kept), tf.gather(known, kept)
    # Rows are ascending, so a search finds where each begins. from_value_rowids would count them, which is not
    # deterministic on a GPU.
    starts = tf.searchsorted(rows, tf.range(item_ids.nrows(tf.int64) + 1), out_type=tf.int64)
    found = tf.RaggedTensor.from_row_splits(tf.gather(values, kept), starts, validate=False)
    others = {name: found.with_values(tf.gather(each.values, sources)) for name, each in aligned.items()}
    return found, others
