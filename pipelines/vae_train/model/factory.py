"""The model that a configuration names."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.vae_train.config import ModelConfig
from pipelines.vae_train.model.interface import Model
from pipelines.vae_train.model.multvae import MultVae
from pipelines.vae_train.model.recvae import RecVae

__all__ = ["make_model"]


def make_model(items: int, config: ModelConfig, sides: Mapping[str, int], seed: int) -> Model:
    """A new model with initial weights of the seed. sides: per side column, how many numbers it has (`side_sizes`)."""
    return (RecVae if config.kind == "recvae" else MultVae)(items, config, sides, seed)
