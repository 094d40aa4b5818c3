"""A history as the encoder's first layer takes it: item rows and the weights they are summed with.

The dense [users, items] matrix this stands for never exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from pipelines.vae_train.model.noise import mix, uniform

__all__ = ["Bag", "drop", "make_bag", "trained_sum", "weighted_sum"]


class Bag(NamedTuple):
    """Histories of b users.

    ids: RaggedTensor int32 [b, (n)]. weights: float32, aligned with `ids.flat_values`. sides: one RaggedTensor int32
    [b, (n)] per side column, aligned with `ids`, 0 where there is no value.
    """

    ids: Any
    weights: Any
    sides: Mapping[str, Any] = {}


def make_bag(item_ids: Any, recency_half_life: float | None = None, sides: Mapping[str, Any] | None = None) -> Bag:
    """Histories with weights of Euclidean length 1 per user; an empty history has none.

    item_ids, sides: RaggedTensor [b, (n)] of integers, oldest first. recency_half_life: an item p places from the
    newest weighs 2^(-p / half-life) before the normalisation; None: all alike.
    """
    ids = item_ids.with_flat_values(tf.cast(item_ids.flat_values, tf.int32))
    rows = ids.value_rowids()
    if recency_half_life is None:
        lengths = tf.cast(ids.row_lengths(), tf.float32)
        weights = tf.gather(tf.math.rsqrt(tf.maximum(lengths, 1.0)), rows)
    else:
        last = tf.gather(ids.row_splits[1:], rows) - 1
        places = tf.cast(last - tf.range(ids.row_splits[-1], dtype=last.dtype), tf.float32)
        raw = tf.pow(2.0, -places / recency_half_life)
        squares = tf.math.unsorted_segment_sum(tf.square(raw), rows, ids.nrows())
        weights = raw * tf.gather(tf.math.rsqrt(tf.maximum(squares, 1e-30)), rows)
    kept = {name: side.with_flat_values(tf.cast(side.flat_values, tf.int32)) for name, side in (sides or {}).items()}
    return Bag(ids, weights, kept)


def drop(bag: Bag, keep_probability: float, streams: Any) -> Bag:
    """Inverted dropout: each item stays with the probability, its weight divided by it; the others leave the bag.

    The coin of an item is a function of the user's stream (uint64 [b]) and the item's index, whatever else there is.
    As in the paper this comes after the normalisation.
    """
    if not 0 < keep_probability <= 1:
        raise ValueError(f"dropout keeps a share in (0, 1], got {keep_probability}")
    if keep_probability == 1:
        return bag
    rows = bag.ids.value_rowids()
    coins = uniform(mix(tf.gather(streams, rows), tf.cast(bag.ids.flat_values, tf.int64)))
    stay = tf.where(coins < keep_probability)[:, 0]
    rows = tf.gather(rows, stay)
    users = bag.ids.nrows()
    return Bag(
        _take(bag.ids, stay, rows, users),
        tf.gather(bag.weights, stay) / keep_probability,
        {name: _take(side, stay, rows, users) for name, side in bag.sides.items()},
    )


def weighted_sum(table: Any, ids: Any, weights: Any) -> Any:
    """Sum of a table's rows, float32 [b, width]: of each user, sum_i weights_i table[ids_i]; of no item, 0.

    table: variable or tensor [rows, width]. ids: RaggedTensor [b, (n)]; weights: aligned with its flat values. Made of
    gathered rows, in operations that every runtime of a saved model has.
    """
    chosen = tf.gather(table, ids.flat_values) * weights[:, tf.newaxis]
    return tf.math.unsorted_segment_sum(chosen, ids.value_rowids(), ids.nrows())


def trained_sum(table: Any, ids: Any, weights: Any) -> Any:
    """As weighted_sum, for training: the gradient of the table is IndexedSlices that name each row once.

    Both ways are products with a CSR matrix of the batch's distinct rows; nothing of size [n, width] is made. With 500
    users of 117 items and a width of 600: 4 ms and 11 ms, where gathered rows and their gradient take 29 and 55.
    """
    distinct, columns = tf.unique(ids.flat_values, out_idx=tf.int64)
    rows = tf.cast(ids.value_rowids(), tf.int64)
    users, wide = tf.cast(ids.nrows(), tf.int64), tf.size(distinct, out_type=tf.int64)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def of(chosen: Any) -> Any:
        def gradient(upstream: Any) -> Any:
            order = tf.argsort(columns, stable=True)
            places = tf.stack([tf.gather(columns, order), tf.gather(rows, order)], axis=1)
            return _product(places, tf.gather(weights, order), tf.stack([wide, users]), upstream)

        return _product(tf.stack([rows, columns], axis=1), weights, tf.stack([users, wide]), chosen), gradient

    return of(tf.gather(table, distinct))


def _product(places: Any, values: Any, shape: Any, dense: Any) -> Any:
    """A sparse matrix, its places in order of their rows, times a dense one."""
    matrix = tf.raw_ops.SparseTensorToCSRSparseMatrix(indices=places, values=values, dense_shape=shape)
    return tf.raw_ops.SparseMatrixMatMul(a=matrix, b=dense)


def _take(ragged: Any, stay: Any, rows: Any, users: Any) -> Any:
    values = tf.gather(ragged.flat_values, stay)
    return tf.RaggedTensor.from_value_rowids(values, rows, nrows=users, validate=False)
