"""Phases of an epoch, the weight of the KL term and the learning rate, by hand."""

from __future__ import annotations

import pytest

from pipelines.vae_train.config import ModelConfig, TrainingConfig
from pipelines.vae_train.training.schedule import Schedule, beta, phases_of


def test_recvae_trains_the_encoder_thrice_and_then_the_decoder_once() -> None:
    assert phases_of("recvae", 3) == ("encoder", "encoder", "encoder", "decoder")
    assert phases_of("multvae", 3) == ("all",)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.0), (1, 0.0025), (40, 0.1), (79, 0.1975), (80, 0.2), (5000, 0.2)])
def test_beta_rises_linearly_to_its_cap_and_never_past_it(step: int, expected: float) -> None:
    """80% of 100 steps: 0.2 / 80 = 0.0025 a step."""
    assert beta(step, 100, 0.2, 0.8) == pytest.approx(expected)


def test_beta_is_at_its_cap_at_once_without_annealing() -> None:
    assert beta(0, 100, 0.2, 0.0) == 0.2


def test_a_plan_counts_the_last_partial_batch_in_every_pass() -> None:
    """101 users in batches of 10: 11 steps a pass; 4 passes, 3 epochs: 132 steps."""
    plan = Schedule.of(101, ModelConfig(), TrainingConfig(epochs=3, batch_users=10))
    assert (plan.steps_per_pass, plan.steps_per_epoch, plan.planned_steps) == (11, 44, 132)
    assert [plan.ends_encoder(number) for number in range(4)] == [False, False, True, False]


def test_recvae_weighs_its_kl_term_itself_and_multvae_by_beta() -> None:
    training = TrainingConfig(epochs=10, batch_users=10)
    recvae = Schedule.of(100, ModelConfig(), training)
    multvae = Schedule.of(100, ModelConfig(kind="multvae"), training)
    assert [recvae.kl_weight(step) for step in (0, 50)] == [1.0, 1.0]
    assert [multvae.kl_weight(step) for step in (0, 40, 99)] == pytest.approx([0.0, 0.1, 0.2])
    assert not multvae.ends_encoder(0)


def test_the_learning_rate_falls_by_the_same_factor_in_every_step_of_the_second_half() -> None:
    """20 steps in 4 epochs, from .01 to .0001: .01 until step 10, a tenth after 5 more."""
    training = TrainingConfig(epochs=4, batch_users=20, learning_rate=1e-2, final_learning_rate=1e-4)
    plan = Schedule.of(100, ModelConfig(kind="multvae"), training)
    assert [plan.learning_rate(step) for step in (0, 9, 10, 15, 20)] == pytest.approx([1e-2, 1e-2, 1e-2, 1e-3, 1e-4])
    assert plan.learning_rate(14) / plan.learning_rate(13) == pytest.approx(10**-0.2)
    constant = Schedule.of(100, ModelConfig(), TrainingConfig(learning_rate=0.3))
    assert [constant.learning_rate(step) for step in (0, constant.planned_steps)] == [0.3, 0.3]
