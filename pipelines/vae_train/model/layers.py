"""Define the layers of both models: dense, layer norm and the sparse input layer.

Initial weights depend only on a seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from pipelines.vae_train.model.bag import Bag, trained_sum, weighted_sum

__all__ = ["Dense", "InputLayer", "LayerNorm", "glorot"]


def glorot(rows: int, columns: int, seed: int, layer: int, *, pair: tuple[int, int] | None = None) -> Any:
    """Draw uniform initial weights (Glorot and Bengio 2010). The same seed and layer give the same weights.

    Args:
        rows: Rows of the matrix.
        columns: Columns of the matrix.
        seed: Seed of the model.
        layer: Number of the layer within the model.
        pair: Number of inputs and outputs that set the bound. None uses rows and columns.

    Returns:
        float32 [rows, columns].
    """
    bound = math.sqrt(6.0 / sum(pair or (rows, columns)))
    return tf.random.stateless_uniform([rows, columns], seed=[seed % 2**31, layer], minval=-bound, maxval=bound)


class Dense(tf.Module):  # type: ignore[misc]
    """A dense layer: x [b, inputs] to x W + c [b, outputs].

    Args:
        inputs: Width of the input.
        outputs: Width of the output.
        seed: Seed of the model.
        layer: Number of the layer within the model, for its initial weights.
        name: Name of the module.
    """

    def __init__(self, inputs: int, outputs: int, seed: int, layer: int, name: str) -> None:
        super().__init__(name=name)
        self.kernel = tf.Variable(glorot(inputs, outputs, seed, layer), name="kernel")
        self.bias = tf.Variable(tf.zeros([outputs]), name="bias")

    def __call__(self, x: Any) -> Any:
        """Return x W + c."""
        return tf.nn.bias_add(tf.matmul(x, self.kernel), self.bias)


class LayerNorm(tf.Module):  # type: ignore[misc]
    """Layer normalisation over the last axis, with scale and offset.

    Args:
        width: Size of the last axis.
        epsilon: Added to the variance.
        name: Name of the module.
    """

    def __init__(self, width: int, epsilon: float, name: str) -> None:
        super().__init__(name=name)
        self.scale = tf.Variable(tf.ones([width]), name="scale")
        self.offset = tf.Variable(tf.zeros([width]), name="offset")
        self.epsilon = epsilon

    def __call__(self, x: Any) -> Any:
        """Normalise x over its last axis."""
        mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
        return tf.nn.batch_normalization(x, mean, variance, self.offset, self.scale, self.epsilon)


class InputLayer(tf.Module):  # type: ignore[misc]
    """The input layer: a bag to [b, hidden].

    The output is the weighted sum of the rows of the items and of their side values, plus an offset. The side value 0
    adds nothing.

    Args:
        items: Size of the catalogue.
        hidden: Width of the output.
        sides: Number of distinct values per side column, including 0 for "no value".
        seed: Seed of the model.
        layer: Number of the layer within the model, for its initial weights.
        name: Name of the module.
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
        """Compute the layer's output.

        Args:
            bag: The histories.
            training: Use the faster sums, whose operations some runtimes of saved models do not support.
        """
        summed = trained_sum if training else weighted_sum
        total = summed(self.kernel, bag.ids, bag.weights)
        for column, table in self.sides.items():
            known = tf.cast(bag.sides[column].flat_values > 0, tf.float32)
            total += summed(table, bag.sides[column], bag.weights * known)
        return tf.nn.bias_add(total, self.bias)
