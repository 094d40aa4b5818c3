"""What training, validation and export know of a model: the batch it learns from, its losses, its methods.

It says nothing of how a model computes them; multvae.py and recvae.py do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

__all__ = ["Batch", "Losses", "Model", "NoiseKeys"]


class Batch(NamedTuple):
    """Users of a training step; `b` users, n items each.

    user_keys: uint64 [b]. item_ids: RaggedTensor int64 [b, (n)], known and distinct, oldest first. weights:
    RaggedTensor float32 [b, (n)], of each item's log-probability in the loss, >= 0; 0: input alone. sides: one
    RaggedTensor int64 [b, (n)] per side column, 0 where the item has no value.
    """

    user_keys: Any
    item_ids: Any
    weights: Any
    sides: Mapping[str, Any] = {}


class NoiseKeys(NamedTuple):
    """What random numbers depend on besides the user. All three may be Python integers or int64 scalars.

    seed: of the run. pass_number: how often training has been over the users, so that each pass draws anew. step: of
    the optimiser, for what a batch draws as a whole (the negatives of a sampled softmax).
    """

    seed: Any
    pass_number: Any
    step: Any


class Losses(NamedTuple):
    """Sums over a batch's users, float32 scalars: the caller divides by the number of users of the global batch.

    total: what is minimised. log_likelihood: of the items, weighted. kl: divergence of the posteriors from the prior,
    summed over latent dimensions, before its weight; 0 where a phase does not need it.
    """

    total: Any
    log_likelihood: Any
    kl: Any


class Model(Protocol):
    """A variational recommender. Scores and losses are float32."""

    phases: tuple[str, ...]

    def posterior(self, bag: Any, training: bool = False) -> tuple[Any, Any]:
        """Mean and log-variance [b, latent] of the users' latent vectors. bag: bag.Bag; training: in a step."""

    def decode(self, z: Any) -> Any:
        """Logits [b, items] of latent vectors [b, latent]."""

    def scores(self, item_ids: Any, sides: Mapping[str, Any]) -> Any:
        """Log-probabilities [b, items] at the posterior's mean, without noise; a history may be empty."""

    def loss(self, batch: Batch, noise: NoiseKeys, phase: str, kl_weight: Any) -> Losses:
        """Losses of a step of one of `phases`. Raises ValueError for another phase."""

    def variables_of(self, phase: str) -> list[Any]:
        """Variables that the phase trains: all others get no gradient from `loss`."""

    def end_of_encoder_phase(self) -> None:
        """To be called after the encoder's passes of an epoch."""
