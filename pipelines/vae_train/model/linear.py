"""Score items with item-item weights, dense or of neighbors only, and blend the scores with those of the VAE."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

__all__ = ["LinearTerm", "NeighborTerm", "Term", "blend", "standardise"]


class LinearTerm(tf.Module):  # type: ignore[misc]
    """A linear model: the score of an item is a sum of weights over the history.

    Args:
        weights: float32 [items, items]. Rows are history items, columns are scored items.

    Raises:
        ValueError: The weights are not a square matrix.
    """

    def __init__(self, weights: Any) -> None:
        super().__init__(name="linear")
        self.weights = tf.Variable(weights, dtype=tf.float32, trainable=False, name="weights")
        rows, columns = self.weights.shape
        if rows != columns:
            raise ValueError(f"the weights of a linear term must be a square matrix, got {rows} by {columns}")

    def scores(self, item_ids: Any) -> Any:
        """Score all items.

        This is a sparse product. Gathered rows would need n times as much memory as the scores.

        Args:
            item_ids: Histories, RaggedTensor of integers [b, (n)].

        Returns:
            float32 [b, items]: the sum of the rows of the history's items, each with weight 1. 0 for an empty history.
        """
        ids = tf.cast(item_ids.flat_values, tf.int64)
        places = tf.stack([tf.cast(item_ids.value_rowids(), tf.int64), ids], axis=1)
        shape = tf.stack([tf.cast(item_ids.nrows(), tf.int64), tf.constant(self.weights.shape[0], tf.int64)])
        history = tf.SparseTensor(places, tf.ones_like(ids, tf.float32), shape)
        return tf.sparse.sparse_dense_matmul(history, self.weights)


class NeighborTerm(tf.Module):  # type: ignore[misc]
    """A linear model with few weights per item: the score of an item is a sum over the history's neighbors.

    Args:
        neighbors: int32 [items, K], items by index. Rows are history items.
        weights: float32 [items, K], 0 where a row has fewer neighbors.

    Raises:
        ValueError: The two differ in shape.
    """

    def __init__(self, neighbors: Any, weights: Any) -> None:
        super().__init__(name="neighbors")
        self.neighbors = tf.Variable(neighbors, dtype=tf.int32, trainable=False, name="neighbors")
        self.weights = tf.Variable(weights, dtype=tf.float32, trainable=False, name="weights")
        if self.neighbors.shape != self.weights.shape:
            raise ValueError(f"neighbors {self.neighbors.shape} and weights {self.weights.shape} must have one shape")

    def scores(self, item_ids: Any) -> Any:
        """Score all items.

        Args:
            item_ids: Histories, RaggedTensor of integers [b, (n)].

        Returns:
            float32 [b, items]: the sum of the neighbors' weights of the history's items. 0 for an empty history.
        """
        items = tf.constant(self.weights.shape[0], tf.int64)
        rows = tf.cast(item_ids.value_rowids(), tf.int64)
        users = tf.cast(item_ids.nrows(), tf.int64)
        ids = item_ids.flat_values
        cells = rows[:, tf.newaxis] * items + tf.cast(tf.gather(self.neighbors, ids), tf.int64)
        weights = tf.reshape(tf.gather(self.weights, ids), [-1])
        return tf.reshape(tf.math.unsorted_segment_sum(weights, tf.reshape(cells, [-1]), users * items), [users, items])


Term = LinearTerm | NeighborTerm


def standardise(scores: Any) -> Any:
    """Scale each user's scores [b, items] to mean 0 and standard deviation 1. Equal scores become 0."""
    mean, variance = tf.nn.moments(scores, axes=[1], keepdims=True)
    return (scores - mean) * tf.math.divide_no_nan(1.0, tf.sqrt(variance))


def blend(vae_scores: Any, linear_scores: Any, share: float) -> Any:
    """Blend standardised scores: share * VAE + (1 - share) * linear.

    A user whose linear scores are all equal, for example because the history is empty, gets only the VAE's scores.

    Args:
        vae_scores: [b, items].
        linear_scores: [b, items].
        share: Share of the VAE's scores, from 0 to 1.

    Returns:
        [b, items].

    Raises:
        ValueError: share is out of range.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share={share} must be between 0 and 1")
    vae, linear = standardise(vae_scores), standardise(linear_scores)
    silent = tf.reduce_all(tf.equal(linear_scores, linear_scores[:, :1]), axis=1, keepdims=True)
    return tf.where(silent, vae, share * vae + (1.0 - share) * linear)
