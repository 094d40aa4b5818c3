"""The linear part of a served model: EASE's item-item weights, and its mixture with the VAE's scores."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

__all__ = ["LinearTerm", "blend", "standardise"]


class LinearTerm(tf.Module):  # type: ignore[misc]
    """Scores as a sum over the history of an item's weights. weights: float32 [items, items], row = history item."""

    def __init__(self, weights: Any) -> None:
        super().__init__(name="linear")
        self.weights = tf.Variable(weights, dtype=tf.float32, trainable=False, name="weights")
        rows, columns = self.weights.shape
        if rows != columns:
            raise ValueError(f"a linear term weighs each item by each: {rows} by {columns} weights are not square")

    def scores(self, item_ids: Any) -> Any:
        """float32 [b, items]: the sum of the history's rows, every item counting 1; 0 for an empty history.

        item_ids: RaggedTensor [b, (n)] of integers. A sparse product, not gathered rows: those would be n times as much
        memory as the scores.
        """
        ids = tf.cast(item_ids.flat_values, tf.int64)
        places = tf.stack([tf.cast(item_ids.value_rowids(), tf.int64), ids], axis=1)
        shape = tf.stack([tf.cast(item_ids.nrows(), tf.int64), tf.constant(self.weights.shape[0], tf.int64)])
        history = tf.SparseTensor(places, tf.ones_like(ids, tf.float32), shape)
        return tf.sparse.sparse_dense_matmul(history, self.weights)


def standardise(scores: Any) -> Any:
    """Each user's scores [b, items] with mean 0 and standard deviation 1 over the catalogue; 0 where they are equal."""
    mean, variance = tf.nn.moments(scores, axes=[1], keepdims=True)
    return (scores - mean) * tf.math.divide_no_nan(1.0, tf.sqrt(variance))


def blend(vae_scores: Any, linear_scores: Any, share: float) -> Any:
    """share * standardised VAE + (1 - share) * standardised linear scores, [b, items]; share from 0 to 1.

    Where the linear scores say nothing, all equal (an empty history), the VAE's alone.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the VAE's share of a blend is from 0 to 1, got {share}")
    vae, linear = standardise(vae_scores), standardise(linear_scores)
    silent = tf.reduce_all(tf.equal(linear_scores, linear_scores[:, :1]), axis=1, keepdims=True)
    return tf.where(silent, vae, share * vae + (1.0 - share) * linear)
