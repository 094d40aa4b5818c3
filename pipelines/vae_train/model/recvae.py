"""RecVAE (Shenbin et al. 2020): a deep encoder, a linear decoder, a prior that remembers the encoder of the last epoch.

Encoder and decoder are trained in turn, each with its own optimiser: the encoder with dropout on the history, the
decoder without.
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
"""Of the layer norms: what the authors' code says (the paper does not)."""
MIXTURE = (3 / 20, 3 / 4, 1 / 10)
"""Shares of the prior: standard normal, the posterior of the last epoch's encoder, a wide normal."""
WIDE_LOGVAR = 10.0


class Encoder(tf.Module):  # type: ignore[misc]
    """A bag to the posterior's mean and log-variance; every layer sees the sum of all before it."""

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
        hidden = self.norms[0](tf.nn.silu(self.input(bag, training)))
        before = hidden
        for dense, norm in zip(self.dense, self.norms[1:], strict=True):
            hidden = norm(tf.nn.silu(dense(hidden) + before))
            before += hidden
        return self.mu(hidden), self.logvar(hidden)


class RecVae(tf.Module):  # type: ignore[misc]
    """Phases `encoder` and `decoder`. items: size of the catalogue; sides: per side column, how many numbers it has."""

    phases = ("encoder", "decoder")

    def __init__(self, items: int, config: ModelConfig, sides: Mapping[str, int], seed: int) -> None:
        super().__init__(name="recvae")
        self.config = config
        self.encoder = Encoder(items, config, sides, seed)
        self.old_encoder = Encoder(items, config, sides, seed, "old_encoder")  # the same numbers: a copy
        self.output = OutputLayer(items, config.latent, config, seed, 20)

    def posterior(self, bag: Bag, training: bool = False) -> tuple[Any, Any]:
        """Mean and log-variance [b, latent] of the users' latent vectors. training: in a step, see InputLayer."""
        mu, logvar = self.encoder(bag, training)
        return mu, logvar

    def decode(self, z: Any) -> Any:
        """Logits float32 [b, items] of latent vectors [b, latent]."""
        return self.output.logits(z)

    def scores(self, item_ids: Any, sides: Mapping[str, Any]) -> Any:
        """Log-probabilities float32 [b, items] at z = mu, without dropout. item_ids, sides: RaggedTensor [b, (n)]."""
        mu, _ = self.posterior(make_bag(item_ids, self.config.recency_half_life, sides))
        return tf.nn.log_softmax(self.decode(mu))

    def loss(self, batch: Batch, noise: NoiseKeys, phase: str, kl_weight: Any) -> Losses:
        """Sums over the batch; total = -log-likelihood + kl_weight * sum_u gamma |x_u| KL_u, |x_u| = sum of weights.

        kl_weight: 1 for the paper's loss. In the phase `decoder` there is no dropout, and KL, which does not depend on
        the decoder, is not computed: 0.
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
        """Variables of the encoder or of the decoder. Raises ValueError for another phase."""
        if phase not in self.phases:
            raise ValueError(f"RecVAE has the phases encoder and decoder, not {phase}")
        return list((self.encoder if phase == "encoder" else self.output).trainable_variables)

    def end_of_encoder_phase(self) -> None:
        """The encoder as it is now becomes the prior's."""
        for old, new in zip(self.old_encoder.variables, self.encoder.variables, strict=True):
            old.assign(new)

    def _log_prior(self, z: Any, bag: Bag) -> Any:
        """Logarithm of the prior's density [b, latent], a mixture in each dimension; the old encoder sees all items."""
        mu, logvar = (tf.stop_gradient(part) for part in self.old_encoder(bag, True))
        standard = _log_normal(z, 0.0, tf.zeros([])) + math.log(MIXTURE[0])
        old = _log_normal(z, mu, logvar) + math.log(MIXTURE[1])
        wide = _log_normal(z, 0.0, tf.constant(WIDE_LOGVAR)) + math.log(MIXTURE[2])
        return tf.reduce_logsumexp(tf.stack([standard, old, wide]), axis=0)


def _log_normal(z: Any, mu: Any, logvar: Any) -> Any:
    """Logarithm of the density of N(mu, exp(logvar)) at z, elementwise."""
    return -0.5 * (math.log(2.0 * math.pi) + logvar + tf.square(z - mu) * tf.exp(-logvar))
