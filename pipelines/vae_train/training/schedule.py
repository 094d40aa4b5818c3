"""Compute the phases of an epoch, and the KL term's weight and the learning rate at a step, from the configuration."""

from __future__ import annotations

import math
from typing import NamedTuple

from pipelines.vae_train.config import ModelConfig, ModelKind, TrainingConfig

__all__ = ["Schedule", "beta", "phases_of"]


def phases_of(kind: ModelKind, encoder_passes: int) -> tuple[str, ...]:
    """Return the phase of each pass of an epoch. For recvae, the encoder's passes come first."""
    if kind == "multvae":
        return ("all",)
    return ("encoder",) * encoder_passes + ("decoder",)


def beta(step: int, planned_steps: int, cap: float, anneal_fraction: float) -> float:
    """Return the weight of multvae's KL term at a step.

    The weight rises linearly from 0 to cap (Liang et al. 2018).

    Args:
        step: Step, from 0.
        planned_steps: Steps of the complete plan.
        cap: Final weight.
        anneal_fraction: Share of the plan over which the weight rises. With 0, the weight is always cap.
    """
    annealed = planned_steps * anneal_fraction
    return cap if step >= annealed else cap * step / annealed


class Schedule(NamedTuple):
    """The plan of a training run.

    Attributes:
        phases: Phase of each pass of an epoch.
        steps_per_pass: Steps of a pass over all users.
        planned_steps: Steps of all epochs.
        beta_cap: Final weight of the KL term, None for recvae.
        anneal_fraction: Share of the planned steps over which the weight rises.
        learning_rates: Learning rate at the first step, and at the end of the plan.
    """

    phases: tuple[str, ...]
    steps_per_pass: int
    planned_steps: int
    beta_cap: float | None
    anneal_fraction: float
    learning_rates: tuple[float, float]

    @staticmethod
    def of(users: int, model: ModelConfig, training: TrainingConfig) -> Schedule:
        """Create the plan. It always covers all epochs, so that a run that stops early has the same first steps."""
        phases = phases_of(model.kind, training.encoder_passes)
        steps = math.ceil(users / training.batch_users)
        cap = model.beta_cap if model.kind == "multvae" else None
        rates = training.learning_rate, training.final_learning_rate or training.learning_rate
        return Schedule(phases, steps, steps * len(phases) * training.epochs, cap, model.anneal_fraction, rates)

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps of an epoch."""
        return self.steps_per_pass * len(self.phases)

    def kl_weight(self, step: int) -> float:
        """Return the weight of the KL term at a step: 1 for recvae, whose loss applies gamma."""
        if self.beta_cap is None:
            return 1.0
        return beta(step, self.planned_steps, self.beta_cap, self.anneal_fraction)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate at a step. In the second half of the plan, every step changes it by one factor."""
        first, last = self.learning_rates
        return first * math.pow(last / first, max(0.0, 2 * step / self.planned_steps - 1))

    def ends_encoder(self, pass_of_epoch: int) -> bool:
        """Return whether a pass of an epoch (from 0) is the last one of the encoder."""
        return self.phases[pass_of_epoch : pass_of_epoch + 2] == ("encoder", "decoder")
