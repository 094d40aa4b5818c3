"""Layers both models are made of: dense, layer norm, the sparse first layer. A seed alone sets the initial weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from pipelines.vae_train.model.bag import Bag, trained_sum, weighted_sum

__all__ = ["Dense", "InputLayer", "LayerNorm", "glorot"]


def glorot(rows: int, columns: int, seed: int, layer: int, *, pair: tuple[int, int] | None = None) -> Any:
    """Glorot and Bengio's uniform initial weights [rows, columns], the same for the same seed and layer.

    pair: the layer's inputs and outputs, where the matrix's sides are others.
    """
    bound = math.sqrt(6.0 / sum(pair or (rows, columns)))
    return tf.random.stateless_uniform([rows, columns], seed=[seed % 2**31, layer], minval=-bound, maxval=bound)


class Dense(tf.Module):  # type: ignore[misc]
    """x [b, inputs] to x W + c [b, outputs]."""

    def __init__(self, inputs: int, outputs: int, seed: int, layer: int, name: str) -> None:
        super().__init__(name=name)
        self.kernel = tf.Variable(glorot(inputs, outputs, seed, layer), name="kernel")
        self.bias = tf.Variable(tf.zeros([outputs]), name="bias")

    def __call__(self, x: Any) -> Any:
        return tf.nn.bias_add(tf.matmul(x, self.kernel), self.bias)


class LayerNorm(tf.Module):  # type: ignore[misc]
    """Layer normalisation over the last axis, with scale and offset."""

    def __init__(self, width: int, epsilon: float, name: str) -> None:
        super().__init__(name=name)
        self.scale = tf.Variable(tf.ones([width]), name="scale")
        self.offset = tf.Variable(tf.zeros([width]), name="offset")
        self.epsilon = epsilon

    def __call__(self, x: Any) -> Any:
        mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
        return tf.nn.batch_normalization(x, mean, variance, self.offset, self.scale, self.epsilon)


class InputLayer(tf.Module):  # type: ignore[misc]
    """A bag to [b, hidden]: the weighted sum of its items' rows and of their side values' rows, plus an offset.

    sides: per side column, how many numbers it has, 0 for no value included; 0 adds nothing.
    """

    def __init__(self, items: int, hidden: int, sides: Mapping[str, int], seed: int, layer: int, name: str) -> None:
        super().__init__(name=name)
        self.kernel = tf.Variable(glorot(items, hidden, seed, layer), name="kernel")
        self.bias = tf.Variable(tf.zeros([hidden]), name="bias")
        self.sides = {
            column: tf.Variable(
                glorot(values, hidden, seed, layer + 1000 + place, pair=(items, hidden)), name=f"side_{column}"
            )
            for place, (column, values) in enumerate(sorted(sides.items()))
        }

    def __call__(self, bag: Bag, training: bool) -> Any:
        """training: by the faster sums, whose operations not every runtime of a saved model need have."""
        summed = trained_sum if training else weighted_sum
        total = summed(self.kernel, bag.ids, bag.weights)
        for column, table in self.sides.items():
            known = tf.cast(bag.sides[column].flat_values > 0, tf.float32)
            total += summed(table, bag.sides[column], bag.weights * known)
        return tf.nn.bias_add(total, self.bias)
