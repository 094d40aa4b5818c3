"""What a sparse log is, and which settings it gets where no flag sets them."""

from __future__ import annotations

import pytest

from pipelines.vae_train.config import ModelConfig, TrainingConfig
from pipelines.vae_train.defaults import SPARSE_MODEL, SPARSE_TRAINING, configs, is_sparse

GOWALLA = (40_981, 810_128)


@pytest.mark.parametrize(
    ("items", "interactions", "sparse"),
    [
        (*GOWALLA, True),
        (10_001, 500_049, True),  # 49.9999 per item
        (10_001, 500_050, False),
        (10_000, 10_000, False),
        (2_810, 571_531, False),  # MovieLens 1M
        (2_297, 698_260, False),  # mooc
    ],
)
def test_a_sparse_log_has_many_items_and_few_interactions_per_item(items: int, interactions: int, sparse: bool) -> None:
    assert is_sparse(items, interactions) is sparse
    expected = "multvae" if sparse else "recvae"
    assert configs({}, {}, items, interactions)[0].kind == expected


def test_a_sparse_log_gets_its_defaults_and_a_learning_rate_that_falls_to_a_tenth() -> None:
    model, training = configs({}, {}, *GOWALLA)
    assert model == ModelConfig(**SPARSE_MODEL)
    assert training == TrainingConfig(**SPARSE_TRAINING, final_learning_rate=1e-4)


def test_a_flag_wins_over_the_default_of_a_sparse_log() -> None:
    model, training = configs({"beta_cap": 0.1, "hidden": 9}, {"learning_rate": 0.5, "epochs": 3}, *GOWALLA)
    assert model == ModelConfig(**{**SPARSE_MODEL, "beta_cap": 0.1, "hidden": 9})
    expected = {**SPARSE_TRAINING, "learning_rate": 0.5, "final_learning_rate": 0.05, "epochs": 3}
    assert training == TrainingConfig(**expected)
    assert configs({}, {"final_learning_rate": 0.7}, *GOWALLA)[1].final_learning_rate == 0.7


def test_recvae_by_flag_keeps_its_own_defaults() -> None:
    assert configs({"kind": "recvae"}, {}, *GOWALLA) == (ModelConfig(), TrainingConfig())
