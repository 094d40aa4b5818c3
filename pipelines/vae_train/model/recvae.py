"""Implement RecVAE (Shenbin et al. 2020).

The encoder is deep and the decoder linear. The prior includes the posterior of the last epoch's encoder. Encoder and
decoder are trained in turn, each with its own optimiser. The history has dropout only when the encoder is trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from pipelines.vae_train.config import ModelConfig
from pipelines.vae_train.model.bag import Bag, drop, make_bag
from pipelines.vae_train.model.interface import Batch, Losses, NoiseKeys
from pipelines.vae_train.model.layers import Dense, InputLayer, LayerNorm
from pipelines.vae_train.model.noise import DROPOUT, user_stream
from pipelines.vae_train.model.output import OutputLayer, draw_latent

__all__ = ["Encoder", "RecVae"]

LAYERS = 5
NORM_EPSILON = 0.1
"""Epsilon of the layer norms. It comes from the authors' code, since the paper does not give it."""
MIXTURE = (3 / 20, 3 / 4, 1 / 10)
"""Shares of the prior's components: standard normal, the posterior of the last epoch's encoder, a wide normal."""
WIDE_LOGVAR = 10.0


class Encoder(tf.Module):  # type: ignore[misc]
    """The encoder: a bag to the posterior's mean and log-variance.

    The input of every layer is the sum of the outputs of all layers before it.

    Args:
        items: Size of the catalogue.
        config: Widths of the layers.
        sides: Number of distinct values per side column, including 0 for "no value".
        seed: Seed of the initial weights.
        name: Name of the module.
    """

    def __init__(
        self, items: int, config: ModelConfig, sides: Mapping[str, int], seed: int, name: str = "encoder"
    ) -> None:
        super().__init__(name=name)
        width = config.hidden
        self.input = InputLayer(items, width, sides, seed, 1, "input")
        self.dense = [Dense(width, width, seed, 2 + i, f"dense_{i}") for i in range(LAYERS - 1)]
        self.norms = [LayerNorm(width, NORM_EPSILON, f"norm_{i}") for i in range(LAYERS)]
        self.mu = Dense(width, config.latent, seed, 10, "mu")
        self.logvar = Dense(width, config.latent, seed, 11, "logvar")

    def __call__(self, bag: Bag, training: bool) -> tuple[Any, Any]:
        """Return the posterior's mean and log-variance, each [b, latent]."""
        hidden = self.norms[0](tf.nn.silu(self.input(bag, training)))
        before = hidden
        for dense, norm in zip(self.dense, self.norms[1:], strict=True):
            hidden = norm(tf.nn.silu(dense(hidden) + before))
            before += hidden
        return self.mu(hidden), self.logvar(hidden)


class RecVae(tf.Module):  # type: ignore[misc]
    """RecVAE with the phases `encoder` and `decoder`.

    Args:
        items: Size of the catalogue.
        config: Shape of the model and its loss.
        sides: Number of distinct values per side column, including 0 for "no value".
        seed: Seed of the initial weights.
    """

    phases = ("encoder", "decoder")

    def __init__(self, items: int, config: ModelConfig, sides: Mapping[str, int], seed: int) -> None:
        super().__init__(name="recvae")
        self.config = config
        self.encoder = Encoder(items, config, sides, seed)
        self.old_encoder = Encoder(items, config, sides, seed, "old_encoder")  # the same initial weights
        self.output = OutputLayer(items, config.latent, config, seed, 20)

    def posterior(self, bag: Bag, training: bool = False) -> tuple[Any, Any]:
        """Compute the mean and the log-variance of the users' latent vectors, each [b, latent].

        Args:
            bag: The histories.
            training: True in a training step (see InputLayer).
        """
        mu, logvar = self.encoder(bag, training)
        return mu, logvar

    def decode(self, z: Any) -> Any:
        """Return the logits float32 [b, items] of latent vectors [b, latent]."""
        return self.output.logits(z)

    def scores(self, item_ids: Any, sides: Mapping[str, Any]) -> Any:
        """Score all items at z = mu, without dropout.

        Args:
            item_ids: Histories, RaggedTensor [b, (n)].
            sides: One RaggedTensor [b, (n)] per side column.

        Returns:
            Log-probabilities float32 [b, items].
        """
        mu, _ = self.posterior(make_bag(item_ids, self.config.recency_half_life, sides))
        return tf.nn.log_softmax(self.decode(mu))

    def loss(self, batch: Batch, noise: NoiseKeys, phase: str, kl_weight: Any) -> Losses:
        """Compute the losses of a step, summed over the batch.

        The total is -log-likelihood + kl_weight * sum_u gamma |x_u| KL_u, where |x_u| is the sum of the user's weights.
        The phase `decoder` has no dropout and reports a KL of 0, because KL does not depend on the decoder.

        Args:
            batch: The users of the step.
            noise: Keys of the random numbers.
            phase: `encoder` or `decoder`.
            kl_weight: Weight of the KL term, a number or a scalar tensor. 1 is the paper's loss.

        Raises:
            ValueError: The phase is neither `encoder` nor `decoder`.
        """
        self.variables_of(phase)
        bag = make_bag(batch.item_ids, self.config.recency_half_life, batch.sides)
        if phase == "decoder":
            mu, logvar = (tf.stop_gradient(part) for part in self.posterior(bag, training=True))
            z = draw_latent(mu, logvar, batch, noise)
            log_likelihood = tf.reduce_sum(self.output.log_likelihood(z, batch, noise))
            return Losses(-log_likelihood, log_likelihood, tf.zeros([]))
        streams = user_stream(noise.seed, noise.pass_number, batch.user_keys, DROPOUT)
        mu, logvar = self.posterior(drop(bag, 1.0 - self.config.dropout, streams), training=True)
        z = draw_latent(mu, logvar, batch, noise)
        log_likelihood = tf.reduce_sum(self.output.log_likelihood(z, batch, noise, trained=False))
        kl = tf.reduce_sum(_log_normal(z, mu, logvar) - self._log_prior(z, bag), axis=1)
        sizes = tf.reduce_sum(batch.weights, axis=1)
        weighted = tf.reduce_sum(self.config.gamma * sizes * kl)
        return Losses(kl_weight * weighted - log_likelihood, log_likelihood, tf.reduce_sum(kl))

    def variables_of(self, phase: str) -> list[Any]:
        """Return the variables of the encoder or of the decoder.

        Raises:
            ValueError: The phase is neither `encoder` nor `decoder`.
        """
        if phase not in self.phases:
            raise ValueError(f"RecVAE has no phase {phase!r}, only 'encoder' and 'decoder'")
        return list((self.encoder if phase == "encoder" else self.output).trainable_variables)

    def end_of_encoder_phase(self) -> None:
        """Copy the current encoder into the prior."""
        for old, new in zip(self.old_encoder.variables, self.encoder.variables, strict=True):
            old.assign(new)

    def _log_prior(self, z: Any, bag: Bag) -> Any:
        """Return the log-density [b, latent] of the prior, a mixture per dimension. The old encoder has no dropout."""
        mu, logvar = (tf.stop_gradient(part) for part in self.old_encoder(bag, True))
        standard = _log_normal(z, 0.0, tf.zeros([])) + math.log(MIXTURE[0])
        old = _log_normal(z, mu, logvar) + math.log(MIXTURE[1])
        wide = _log_normal(z, 0.0, tf.constant(WIDE_LOGVAR)) + math.log(MIXTURE[2])
        return tf.reduce_logsumexp(tf.stack([standard, old, wide]), axis=0)


def _log_normal(z: Any, mu: Any, logvar: Any) -> Any:
    """Return the log-density of N(mu, exp(logvar)) at z, elementwise."""
    return -0.5 * (math.log(2.0 * math.pi) + logvar + tf.square(z - mu) * tf.exp(-logvar))
