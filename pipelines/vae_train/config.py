"""Hold the settings of a run that all stages share.

This module imports neither Beam nor TensorFlow.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["FeatureRules", "ModelConfig", "ModelKind", "Precision", "SplitRule", "TrainingConfig"]

ModelKind = Literal["recvae", "multvae"]
Precision = Literal["float32", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class SplitRule:
    """How users are divided into training, validation and test users.

    A hash of the seed and the user decides (features/splitting.py).

    Attributes:
        by: How a held-out user's items are divided. `time` makes the newest items the targets. `user` chooses the
            targets by hash.
        validation_fraction: Share of the users. None for 5% of the users, at least 500 and at most 10,000, but never
            more than a fifth of all users.
        test_fraction: Share of the users, 0 for no test users.
        fold_in: Share of a held-out user's items that are input. The others are the targets.
        seed: Seed of the hash.
    """

    by: Literal["user", "time"]
    validation_fraction: float | None = None
    test_fraction: float = 0.0
    fold_in: float = 0.8
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class FeatureRules:
    """How histories become features.

    Attributes:
        min_item_users: Items with fewer training users are not in the vocabulary.
        max_items: Largest size of the vocabulary. The most frequent items are kept. None for no limit.
        min_user_items: Users with fewer items are skipped.
        side_columns: Columns of --items that become features.
        seed: Seed of the hash that divides the users.
    """

    min_item_users: int = 1
    max_items: int | None = None
    min_user_items: int = 1
    side_columns: tuple[str, ...] = ()
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The shape of the model and its loss.

    Attributes:
        kind: `recvae` or `multvae`.
        hidden: Width of the hidden layers.
        latent: Width of the latent vector.
        dropout: Share of a history's items that the encoder does not see in training.
        recency_half_life: Number of places before the newest item after which an item's input weight halves. None gives
            all items the same weight.
        gamma: Weight of the KL term per item of the history, for recvae.
        beta_cap: Final weight of the KL term, for multvae. The weight rises linearly to it.
        anneal_fraction: Share of the planned steps over which the weight of the KL term rises, for multvae.
        sampled_items: The softmax is sampled for a larger catalogue than this.
        samples: Negatives per step of a sampled softmax.
        precision: Type of the output layer's matrix products.
    """

    kind: ModelKind = "recvae"
    hidden: int = 600
    latent: int = 200
    dropout: float = 0.5
    recency_half_life: float | None = None
    gamma: float = 0.005
    beta_cap: float = 0.2
    anneal_fraction: float = 0.8
    sampled_items: int = 100_000
    samples: int = 8_192
    precision: Precision = "float32"


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How the model is trained.

    An epoch of recvae is `encoder_passes` passes over the users for the encoder, then one pass for the decoder.

    Attributes:
        epochs: Largest number of epochs.
        batch_users: Users per step, over all replicas.
        learning_rate: Learning rate of Adam at the first step. RecVAE's authors use 5e-4. 1e-3 reaches the same
            validation score in half the epochs on MovieLens 1M.
        final_learning_rate: Learning rate at the end of the plan. It falls geometrically over the second half. None for
            no change.
        encoder_passes: Passes for the encoder per epoch, for recvae.
        patience: Training stops after this many epochs without a better validation score.
        seed: Seed of weights, order and noise.
        deterministic: Whether TensorFlow uses only deterministic operations.
        shuffle_users: Number of users in the shuffle buffer in memory.
        checkpoint_steps: Steps between checkpoints within an epoch. Every epoch ends with a checkpoint too.
        lazy: Update only the input layer's rows of items that a step contains (lazy Adam).
        distribute: Strategy of tf.distribute.
    """

    epochs: int = 100
    batch_users: int = 500
    learning_rate: float = 1e-3
    final_learning_rate: float | None = None
    encoder_passes: int = 3
    patience: int = 10
    seed: int = 1
    deterministic: bool = False
    shuffle_users: int = 200_000
    checkpoint_steps: int = 1_000
    lazy: bool = True
    distribute: Literal["none", "mirrored", "multiworker"] = "none"
