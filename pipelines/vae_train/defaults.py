"""Fill the settings of the model and its training that no flag sets, by the size of the log.

A sparse log has many items and few interactions per item. An epoch of steps of 500 users is too short to learn them,
and a light KL term overfits. Mult-VAE with smaller steps, a heavier KL term and a learning rate that falls does better,
and a sampled softmax pays for the steps. On Gowalla the autoencoder alone reached ndcg@20 .1263 instead of RecVAE's
.1156 (benchmarks/README.md, vae_sparse.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.vae_train.config import ModelConfig, TrainingConfig

__all__ = ["LARGE_ITEMS", "SPARSE_INTERACTIONS", "SPARSE_MODEL", "SPARSE_TRAINING", "configs", "is_sparse"]

LARGE_ITEMS = 10_000
"""A sparse log has more items than this."""
SPARSE_INTERACTIONS = 50
"""A sparse log has fewer interactions per item than this. Gowalla has 20, MovieLens 100K 59 and MovieLens 1M 203."""
SPARSE_MODEL: Mapping[str, Any] = {
    "kind": "multvae",
    "beta_cap": 0.5,
    "sampled_items": LARGE_ITEMS,
    "samples": 4096,
}
SPARSE_TRAINING: Mapping[str, Any] = {"epochs": 30, "batch_users": 100}
_FALL = 0.1
"""Share of the learning rate at the end of the plan, for a sparse log."""
_EPOCHS = {"recvae": 100, "multvae": 200}


def is_sparse(items: int, interactions: int) -> bool:
    """Return whether a log has many items and few interactions per item."""
    return items > LARGE_ITEMS and interactions < SPARSE_INTERACTIONS * items


def configs(
    model: Mapping[str, Any], training: Mapping[str, Any], items: int, interactions: int
) -> tuple[ModelConfig, TrainingConfig]:
    """Return the settings of a model and its training. The defaults of a sparse log are for Mult-VAE alone.

    Args:
        model: The fields of ModelConfig that flags set.
        training: The fields of TrainingConfig that flags set.
        items: Number of items of the log.
        interactions: Number of interactions of the log.
    """
    if is_sparse(items, interactions) and model.get("kind") != "recvae":
        rate = training.get("learning_rate", TrainingConfig.learning_rate)
        training = {**SPARSE_TRAINING, "final_learning_rate": _FALL * rate, **training}
        return ModelConfig(**{**SPARSE_MODEL, **model}), TrainingConfig(**training)
    config = ModelConfig(**model)
    return config, TrainingConfig(**{"epochs": _EPOCHS[config.kind], **training})
