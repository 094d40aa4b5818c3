"""From the posterior to the likelihood, as both models do it: the latent draw, the output layer, full or sampled."""

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
    """z = mu + exp(logvar / 2) e [b, latent], with e standard normal, a number per user and dimension."""
    streams = user_stream(noise.seed, noise.pass_number, batch.user_keys, LATENT)
    dimensions = tf.range(mu.shape[1], dtype=tf.int64)
    return mu + tf.exp(0.5 * logvar) * normal(mix(streams[:, tf.newaxis], dimensions))


class OutputLayer(tf.Module):  # type: ignore[misc]
    """[b, width] to logits of all items, or to a batch's log-likelihood. kernel: [items, width], a row per item."""

    def __init__(self, items: int, width: int, config: ModelConfig, seed: int, layer: int) -> None:
        super().__init__(name="output")
        self.kernel = tf.Variable(glorot(items, width, seed, layer), name="kernel")
        self.bias = tf.Variable(tf.zeros([items]), name="bias")
        self.items = items
        self.precision = config.precision
        self.samples = config.samples if items > config.sampled_items else None

    def logits(self, hidden: Any) -> Any:
        """Logits float32 [b, items]."""
        return output_logits(hidden, self.kernel, self.bias)

    def log_likelihood(self, hidden: Any, batch: Batch, noise: NoiseKeys, trained: bool = True) -> Any:
        """Log-likelihood [b] of the batch; sampled for a catalogue past the configured size.

        trained: False where the layer itself stays as it is: nothing is computed for its gradient.
        """
        kernel, bias = (self.kernel, self.bias) if trained else map(tf.stop_gradient, (self.kernel, self.bias))
        if self.samples is None:
            return multinomial(hidden, kernel, bias, batch.item_ids, batch.weights, self.precision)
        negatives, log_chance = log_uniform_negatives(self.items, self.samples, noise)
        return sampled_multinomial(
            hidden, kernel, bias, batch.item_ids, batch.weights, self.precision, negatives, log_chance
        )
