"""Compute the likelihood from the posterior, for both models: the latent draw and the output layer, full or sampled."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from pipelines.vae_train.config import ModelConfig
from pipelines.vae_train.model.interface import Batch, NoiseKeys
from pipelines.vae_train.model.layers import glorot
from pipelines.vae_train.model.likelihood import multinomial, output_logits
from pipelines.vae_train.model.noise import LATENT, mix, normal, user_stream
from pipelines.vae_train.model.sampled import log_uniform_negatives, sampled_multinomial

__all__ = ["OutputLayer", "draw_latent"]


def draw_latent(mu: Any, logvar: Any, batch: Batch, noise: NoiseKeys) -> Any:
    """Draw the latent vectors z = mu + exp(logvar / 2) e, with e standard normal per user and dimension.

    Args:
        mu: Mean [b, latent].
        logvar: Log-variance [b, latent].
        batch: The users, for their keys.
        noise: Keys of the random numbers.

    Returns:
        [b, latent].
    """
    streams = user_stream(noise.seed, noise.pass_number, batch.user_keys, LATENT)
    dimensions = tf.range(mu.shape[1], dtype=tf.int64)
    return mu + tf.exp(0.5 * logvar) * normal(mix(streams[:, tf.newaxis], dimensions))


class OutputLayer(tf.Module):  # type: ignore[misc]
    """The output layer: hidden vectors [b, width] to logits of all items, or to the log-likelihood of a batch.

    Its kernel is [items, width], one row per item.

    Args:
        items: Size of the catalogue.
        width: Width of the hidden vectors.
        config: Precision of the products, and when to sample the softmax.
        seed: Seed of the model.
        layer: Number of the layer within the model, for its initial weights.
    """

    def __init__(self, items: int, width: int, config: ModelConfig, seed: int, layer: int) -> None:
        super().__init__(name="output")
        self.kernel = tf.Variable(glorot(items, width, seed, layer), name="kernel")
        self.bias = tf.Variable(tf.zeros([items]), name="bias")
        self.items = items
        self.precision = config.precision
        self.samples = config.samples if items > config.sampled_items else None

    def logits(self, hidden: Any) -> Any:
        """Return the logits float32 [b, items] of hidden vectors [b, width]."""
        return output_logits(hidden, self.kernel, self.bias)

    def log_likelihood(self, hidden: Any, batch: Batch, noise: NoiseKeys, trained: bool = True) -> Any:
        """Compute the log-likelihood [b] of a batch. Sample the softmax if the catalogue exceeds the configured size.

        Args:
            hidden: float32 [b, width].
            batch: The users of the step.
            noise: Keys of the random numbers.
            trained: Whether the layer itself is trained. If False, its gradient is not computed.
        """
        kernel, bias = (self.kernel, self.bias) if trained else map(tf.stop_gradient, (self.kernel, self.bias))
        if self.samples is None:
            return multinomial(hidden, kernel, bias, batch.item_ids, batch.weights, self.precision)
        negatives, log_chance = log_uniform_negatives(self.items, self.samples, noise)
        return sampled_multinomial(
            hidden, kernel, bias, batch.item_ids, batch.weights, self.precision, negatives, log_chance
        )
