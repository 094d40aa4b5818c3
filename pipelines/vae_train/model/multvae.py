"""Implement Mult-VAE (Liang et al. 2018).

Encoder and decoder use tanh. The latent vector is Gaussian and the likelihood multinomial.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from pipelines.vae_train.config import ModelConfig
from pipelines.vae_train.model.bag import Bag, drop, make_bag
from pipelines.vae_train.model.interface import Batch, Losses, NoiseKeys
from pipelines.vae_train.model.layers import Dense, InputLayer
from pipelines.vae_train.model.noise import DROPOUT, user_stream
from pipelines.vae_train.model.output import OutputLayer, draw_latent

__all__ = ["MultVae"]


class MultVae(tf.Module):  # type: ignore[misc]
    """Mult-VAE: items -> hidden (tanh) -> latent -> hidden (tanh) -> items.

    It has one phase, `all`.

    Args:
        items: Size of the catalogue.
        config: Shape of the model and its loss.
        sides: Number of distinct values per side column, including 0 for "no value".
        seed: Seed of the initial weights.
        regulariser: Weight of the sum of squared kernels in the loss of an average user (lambda in the paper, which
            used 0). A weight above 0 makes the gradients dense.
    """

    phases = ("all",)

    def __init__(
        self, items: int, config: ModelConfig, sides: Mapping[str, int], seed: int, regulariser: float = 0.0
    ) -> None:
        super().__init__(name="multvae")
        self.config = config
        self.regulariser = regulariser
        self.input = InputLayer(items, config.hidden, sides, seed, 1, "input")
        self.mu = Dense(config.hidden, config.latent, seed, 2, "mu")
        self.logvar = Dense(config.hidden, config.latent, seed, 3, "logvar")
        self.hidden = Dense(config.latent, config.hidden, seed, 4, "hidden")
        self.output = OutputLayer(items, config.hidden, config, seed, 5)

    def posterior(self, bag: Bag, training: bool = False) -> tuple[Any, Any]:
        """Compute the mean and the log-variance of the users' latent vectors, each [b, latent].

        Args:
            bag: The histories.
            training: True in a training step (see InputLayer).
        """
        hidden = tf.tanh(self.input(bag, training))
        return self.mu(hidden), self.logvar(hidden)

    def decode(self, z: Any) -> Any:
        """Return the logits float32 [b, items] of latent vectors [b, latent]."""
        return self.output.logits(tf.tanh(self.hidden(z)))

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

        The total is -log-likelihood + kl_weight * KL + users * regulariser * squared kernels.

        Args:
            batch: The users of the step.
            noise: Keys of the random numbers.
            phase: `all`.
            kl_weight: Weight of the KL term, a number or a scalar tensor.

        Raises:
            ValueError: The phase is not `all`.
        """
        self.variables_of(phase)
        bag = make_bag(batch.item_ids, self.config.recency_half_life, batch.sides)
        streams = user_stream(noise.seed, noise.pass_number, batch.user_keys, DROPOUT)
        mu, logvar = self.posterior(drop(bag, 1.0 - self.config.dropout, streams), training=True)
        hidden = tf.tanh(self.hidden(draw_latent(mu, logvar, batch, noise)))
        log_likelihood = tf.reduce_sum(self.output.log_likelihood(hidden, batch, noise))
        kl = 0.5 * tf.reduce_sum(tf.square(mu) + tf.exp(logvar) - 1.0 - logvar)
        total = kl_weight * kl - log_likelihood
        if self.regulariser:
            kernels = [v for v in self.trainable_variables if v.shape.rank == 2]
            squares = tf.add_n([tf.reduce_sum(tf.square(kernel)) for kernel in kernels])
            total += tf.cast(batch.item_ids.nrows(), tf.float32) * self.regulariser * squares
        return Losses(total, log_likelihood, kl)

    def variables_of(self, phase: str) -> list[Any]:
        """Return all variables.

        Raises:
            ValueError: The phase is not `all`.
        """
        if phase not in self.phases:
            raise ValueError(f"Mult-VAE has no phase {phase!r}, only 'all'")
        return list(self.trainable_variables)

    def end_of_encoder_phase(self) -> None:
        """Do nothing. The prior is fixed."""
