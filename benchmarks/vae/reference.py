"""Implement the plain dense Mult-VAE of the paper as the reference for vae_train's fidelity and speed.

Liang, Krishnan, Hoffman, Jebara: Variational Autoencoders for Collaborative Filtering (WWW 2018), section 2 and the
settings of 4.3. There is one hidden layer of 600 tanh units on each side and 200 latent units. Inputs are L2-normalised
and then have dropout 0.5. The loss is -sum_i x_i log softmax_i + beta KL, and the weight of KL rises linearly to its
cap. Adam uses 1e-3 and 500 users per step. The module shares no code with vae_train: it uses dense [users, items]
inputs, TensorFlow's random numbers, and textbook losses and Adam.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import tensorflow as tf

__all__ = ["DenseMultVae"]

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-7


class DenseMultVae(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """Users as dense rows of 0 and 1 in, logits of all items out."""

    def __init__(
        self, items: int, seed: int, hidden: int = 600, latent: int = 200, learning_rate: float = 1e-3
    ) -> None:
        super().__init__()
        random = tf.random.Generator.from_seed(seed)
        self.random = random
        self.latent = latent
        self.learning_rate = learning_rate
        shapes = [(items, hidden), (hidden, 2 * latent), (latent, hidden), (hidden, items)]
        self.kernels = [tf.Variable(_glorot(random, shape)) for shape in shapes]
        self.biases = [tf.Variable(tf.zeros([shape[1]])) for shape in shapes]
        self.slots = [(tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for v in self._weights()]
        self.steps = tf.Variable(0, dtype=tf.int64)

    def _weights(self) -> list[Any]:
        return [*self.kernels, *self.biases]

    def _posterior(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        h = tf.tanh(x @ self.kernels[0] + self.biases[0])
        return tf.split(h @ self.kernels[1] + self.biases[1], 2, axis=1)

    def _decode(self, z: tf.Tensor) -> tf.Tensor:
        h = tf.tanh(z @ self.kernels[2] + self.biases[2])
        return h @ self.kernels[3] + self.biases[3]

    @tf.function(input_signature=[tf.TensorSpec([None, None]), tf.TensorSpec([])])  # type: ignore[untyped-decorator]
    def train_step(self, x: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
        """One step on users x; returns the loss per user."""
        with tf.GradientTape() as tape:
            inputs = tf.math.l2_normalize(x, axis=1)
            keep = tf.cast(self.random.uniform(tf.shape(x)) >= 0.5, tf.float32)
            mu, logvar = self._posterior(inputs * keep / 0.5)
            z = mu + self.random.normal(tf.shape(mu)) * tf.exp(0.5 * logvar)
            log_softmax = tf.nn.log_softmax(self._decode(z))
            likelihood = tf.reduce_mean(tf.reduce_sum(log_softmax * x, axis=1))
            kl = tf.reduce_mean(0.5 * tf.reduce_sum(tf.exp(logvar) + mu**2 - 1.0 - logvar, axis=1))
            loss = -likelihood + beta * kl
        gradients = tape.gradient(loss, self._weights())
        self._adam(gradients)
        return loss

    @tf.function(input_signature=[tf.TensorSpec([None, None])])  # type: ignore[untyped-decorator]
    def scores(self, x: tf.Tensor) -> tf.Tensor:
        """Logits for users x, from the mean of the posterior."""
        mu, _ = self._posterior(tf.math.l2_normalize(x, axis=1))
        return self._decode(mu)

    def _adam(self, gradients: list[Any]) -> None:
        self.steps.assign_add(1)
        step = tf.cast(self.steps, tf.float32)
        for weight, gradient, (m, v) in zip(self._weights(), gradients, self.slots, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=weight.handle, m=m.handle, v=v.handle, beta1_power=BETA1**step, beta2_power=BETA2**step,
                lr=self.learning_rate, beta1=BETA1, beta2=BETA2, epsilon=EPSILON, grad=gradient,
            )  # fmt: skip


def dense(rows: sp.csr_array) -> np.ndarray[Any, Any]:
    """Users as float32 rows."""
    return rows.toarray().astype(np.float32)


def _glorot(random: tf.random.Generator, shape: tuple[int, int]) -> tf.Tensor:
    limit = (6.0 / sum(shape)) ** 0.5
    return random.uniform(shape, -limit, limit)
