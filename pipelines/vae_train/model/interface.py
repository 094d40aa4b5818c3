"""Define the interface of a model for training, validation and export: its batches, its losses and its methods.

multvae.py and recvae.py implement the interface.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

__all__ = ["Batch", "Losses", "Model", "NoiseKeys"]


class Batch(NamedTuple):
    """The b users of a training step.

    Attributes:
        user_keys: uint64 [b].
        item_ids: Item indices, RaggedTensor int64 [b, (n)], oldest first. The items of a user are distinct, and all
            are in the vocabulary.
        weights: Weight of each item's log-probability in the loss, RaggedTensor float32 [b, (n)], at least 0. An item
            with weight 0 is only input.
        sides: One RaggedTensor int64 [b, (n)] per side column. 0 if an item has no value.
    """

    user_keys: Any
    item_ids: Any
    weights: Any
    sides: Mapping[str, Any] = {}


class NoiseKeys(NamedTuple):
    """The keys of the random numbers, in addition to the user. Each is a Python integer or an int64 scalar.

    Attributes:
        seed: Seed of the run.
        pass_number: Number of completed passes over the users, so that each pass draws different numbers.
        step: Step of the optimiser. It keys the numbers drawn once per batch, the negatives of a sampled softmax.
    """

    seed: Any
    pass_number: Any
    step: Any


class Losses(NamedTuple):
    """Losses of a batch, float32 scalars, summed over its users.

    The caller divides by the number of users of the global batch.

    Attributes:
        total: The loss to minimise.
        log_likelihood: Weighted log-likelihood of the items.
        kl: Divergence of the posteriors from the prior, summed over latent dimensions, without its weight. 0 in a phase
            that does not need it.
    """

    total: Any
    log_likelihood: Any
    kl: Any


class Model(Protocol):
    """A variational recommender. Scores and losses are float32."""

    phases: tuple[str, ...]

    def posterior(self, bag: Any, training: bool = False) -> tuple[Any, Any]:
        """Compute the mean and the log-variance of the users' latent vectors.

        Args:
            bag: The histories, a `bag.Bag`.
            training: True in a training step.

        Returns:
            Two tensors [b, latent].
        """

    def decode(self, z: Any) -> Any:
        """Return the logits [b, items] of latent vectors [b, latent]."""

    def scores(self, item_ids: Any, sides: Mapping[str, Any]) -> Any:
        """Score all items at the posterior's mean, without noise.

        Args:
            item_ids: Histories, RaggedTensor [b, (n)]. A history may be empty.
            sides: One RaggedTensor [b, (n)] per side column.

        Returns:
            Log-probabilities [b, items].
        """

    def loss(self, batch: Batch, noise: NoiseKeys, phase: str, kl_weight: Any) -> Losses:
        """Compute the losses of a training step.

        Args:
            batch: The users of the step.
            noise: Keys of the random numbers.
            phase: One of `phases`.
            kl_weight: Weight of the KL term, a number or a scalar tensor.

        Raises:
            ValueError: The model has no such phase.
        """

    def variables_of(self, phase: str) -> list[Any]:
        """Return the variables that a phase trains. All other variables get no gradient from `loss`."""

    def end_of_encoder_phase(self) -> None:
        """Finish the encoder's passes of an epoch. Training calls this before the decoder's pass."""
