"""Represent histories as the input of the encoder's first layer: item rows and their weights.

The dense [users, items] matrix is never materialised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from pipelines.vae_train.model.noise import mix, uniform

__all__ = ["Bag", "drop", "make_bag", "trained_sum", "weighted_sum"]


class Bag(NamedTuple):
    """The histories of b users.

    Attributes:
        ids: Item indices, RaggedTensor int32 [b, (n)].
        weights: float32, aligned with `ids.flat_values`.
        sides: One RaggedTensor int32 [b, (n)] per side column, aligned with `ids`. 0 if an item has no value.
    """

    ids: Any
    weights: Any
    sides: Mapping[str, Any] = {}


def make_bag(item_ids: Any, recency_half_life: float | None = None, sides: Mapping[str, Any] | None = None) -> Bag:
    """Create a bag whose weights have Euclidean length 1 per user. An empty history has no weights.

    Args:
        item_ids: Item indices, RaggedTensor of integers [b, (n)], oldest first.
        recency_half_life: An item p places before the newest weighs 2^(-p / recency_half_life) before the
            normalisation. None gives all items the same weight.
        sides: Values of each side column, RaggedTensor of integers [b, (n)], aligned with item_ids.
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
    """Apply inverted dropout: keep each item with a probability and divide its weight by that probability.

    Whether an item is kept depends only on the user's stream and the item's index. As in the paper, dropout follows
    the normalisation.

    Args:
        bag: The histories of b users.
        keep_probability: Greater than 0 and at most 1.
        streams: Noise keys of the users, uint64 [b].

    Raises:
        ValueError: keep_probability is out of range.
    """
    if not 0 < keep_probability <= 1:
        raise ValueError(f"keep_probability={keep_probability} must be greater than 0 and at most 1")
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
    """Sum the weighted rows of a table per user.

    The function gathers rows. It uses only operations that every runtime of a saved model supports.

    Args:
        table: Variable or tensor float32 [rows, width].
        ids: Row indices, RaggedTensor [b, (n)].
        weights: float32, aligned with `ids.flat_values`.

    Returns:
        float32 [b, width]: sum_i weights_i table[ids_i] for each user. 0 for a user without items.
    """
    chosen = tf.gather(table, ids.flat_values) * weights[:, tf.newaxis]
    return tf.math.unsorted_segment_sum(chosen, ids.value_rowids(), ids.nrows())


def trained_sum(table: Any, ids: Any, weights: Any) -> Any:
    """Sum the weighted rows of a table per user, faster, for training.

    The forward and the backward pass are products with a CSR matrix over the batch's distinct rows, so nothing of size
    [n, width] is allocated. With 500 users of 117 items and a width of 600, the two passes take 4 ms and 11 ms.
    `weighted_sum` takes 29 ms and 55 ms.

    Args:
        table: Variable or tensor float32 [rows, width].
        ids: Row indices, RaggedTensor [b, (n)].
        weights: float32, aligned with `ids.flat_values`.

    Returns:
        float32 [b, width], as `weighted_sum`. The gradient of the table is IndexedSlices with distinct rows.
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
    """Multiply a sparse matrix, whose places are sorted by row, by a dense matrix."""
    matrix = tf.raw_ops.SparseTensorToCSRSparseMatrix(indices=places, values=values, dense_shape=shape)
    return tf.raw_ops.SparseMatrixMatMul(a=matrix, b=dense)


def _take(ragged: Any, stay: Any, rows: Any, users: Any) -> Any:
    values = tf.gather(ragged.flat_values, stay)
    return tf.RaggedTensor.from_value_rowids(values, rows, nrows=users, validate=False)
