"""Create the model that a configuration selects."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.vae_train.config import ModelConfig
from pipelines.vae_train.model.interface import Model
from pipelines.vae_train.model.multvae import MultVae
from pipelines.vae_train.model.recvae import RecVae

__all__ = ["make_model"]


def make_model(items: int, config: ModelConfig, sides: Mapping[str, int], seed: int) -> Model:
    """Create a model with initial weights.

    Args:
        items: Size of the catalogue.
        config: Kind and shape of the model.
        sides: Number of distinct values per side column, including 0 for "no value" (`side_sizes`).
        seed: Seed of the initial weights.
    """
    return (RecVae if config.kind == "recvae" else MultVae)(items, config, sides, seed)
