"""What the command line decided, as values that every stage shares. No Beam, no TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["FeatureRules", "ModelConfig", "ModelKind", "Precision", "SplitRule", "TrainingConfig"]

ModelKind = Literal["recvae", "multvae"]
Precision = Literal["float32", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class SplitRule:
    """Which users validate and test, by a hash of seed and user (features/splitting.py).

    by: how a held-out user's items are divided: `time`, the newest fifth is asked for; `user`, a fifth by hash.
    validation_fraction: None for 5% of the users, at least 500, at most 10,000, never more than a fifth of them.
    test_fraction: 0 for none. fold_in: share of a held-out user's items that is shown.
    """

    by: Literal["user", "time"]
    validation_fraction: float | None = None
    test_fraction: float = 0.0
    fold_in: float = 0.8
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class FeatureRules:
    """From histories to features. min_item_users: items with fewer training users are unknown to the model.

    max_items: size of the vocabulary, the most frequent stay; None: no limit. min_user_items: users with fewer items
    are left out. side_columns: columns of --items that become features. seed: of the hash that divides the users.
    """

    min_item_users: int = 1
    max_items: int | None = None
    min_user_items: int = 1
    side_columns: tuple[str, ...] = ()
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Shape of the model and its loss.

    hidden, latent: widths. dropout: share of a history's items hidden from the encoder. recency_half_life: places from
    the end of a history after which an item's input weight halves; None: all alike. gamma: recvae, weight of the KL
    term per item of the history. beta_cap, anneal_fraction: multvae, the KL weight rises linearly to beta_cap over that
    share of the planned steps. sampled_items: past this catalogue size the softmax is sampled. samples: negatives per
    step. precision: of the output layer's products.
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
    """How it is trained. An epoch of recvae is `encoder_passes` over the users for the encoder, then one for the
    decoder.

    patience: epochs without a better validation score after which training stops. shuffle_users: users held in memory
    to be put in random order. checkpoint_steps: steps between checkpoints within an epoch; one follows every epoch.
    lazy: rows of the input layer that no user of a step has keep their value and moments (lazy Adam).
    """

    epochs: int = 100
    batch_users: int = 500
    learning_rate: float = 1e-3
    encoder_passes: int = 3
    patience: int = 10
    seed: int = 1
    deterministic: bool = False
    shuffle_users: int = 200_000
    checkpoint_steps: int = 1_000
    lazy: bool = True
    distribute: Literal["none", "mirrored", "multiworker"] = "none"
