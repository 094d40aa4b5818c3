"""What the model sees of a history: the items it knows, each once. The same operations in training and serving."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

__all__ = ["known_history"]


def known_history(
    item_ids: tf.RaggedTensor, aligned: Mapping[str, tf.RaggedTensor]
) -> tuple[tf.RaggedTensor, dict[str, tf.RaggedTensor]]:
    """Leave out unknown items and, of an item that repeats, all but its last (newest) place; order stays.

    item_ids: int64 [b, (n)], -1 where unknown. aligned: further values of the same places (side columns, weights).
    Returns both, int64 [b, (m)], distinct and at least 0 within a row. Source of the trick: positions are compared with
    the largest position of the same (row, item), which needs no sort.
    """
    rows = item_ids.value_rowids()
    values = item_ids.values
    known = tf.where(values >= 0)[:, 0]
    rows, values = tf.gather(rows, known), tf.gather(values, known)
    # (row, item) as one number; with rows below 2^31 and items below 2^31 it cannot wrap.
    width = tf.reduce_max(tf.concat([values, [0]], 0)) + 1
    distinct, which = tf.unique(rows * width + values, out_idx=tf.int64)
    places = tf.range(tf.size(values, tf.int64), dtype=tf.int64)
    newest = tf.math.unsorted_segment_max(places, which, tf.size(distinct, tf.int64))
    kept = tf.where(tf.gather(newest, which) == places)[:, 0]
    rows, sources = tf.gather(rows, kept), tf.gather(known, kept)
    # Rows ascend, so a search finds where each begins; from_value_rowids would count them, which on a GPU is no
    # deterministic operation.
    starts = tf.searchsorted(rows, tf.range(item_ids.nrows(tf.int64) + 1), out_type=tf.int64)
    found = tf.RaggedTensor.from_row_splits(tf.gather(values, kept), starts, validate=False)
    others = {name: found.with_values(tf.gather(each.values, sources)) for name, each in aligned.items()}
    return found, others
