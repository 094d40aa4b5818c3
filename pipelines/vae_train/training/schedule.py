"""Which phase comes when, and how much the KL term weighs at a step: arithmetic on the configuration alone."""

from __future__ import annotations

import math
from typing import NamedTuple

from pipelines.vae_train.config import ModelConfig, ModelKind, TrainingConfig

__all__ = ["Schedule", "beta", "phases_of"]


def phases_of(kind: ModelKind, encoder_passes: int) -> tuple[str, ...]:
    """The phase of every pass over the users in one epoch; of recvae the encoder's passes come first."""
    if kind == "multvae":
        return ("all",)
    return ("encoder",) * encoder_passes + ("decoder",)


def beta(step: int, planned_steps: int, cap: float, anneal_fraction: float) -> float:
    """Weight of the KL term of multvae at a step (from 0): linear from 0 to cap over anneal_fraction of the plan.

    cap from the first step on where anneal_fraction is 0. Source: Liang et al. 2018, in steps of a fraction there too.
    """
    annealed = planned_steps * anneal_fraction
    return cap if step >= annealed else cap * step / annealed


class Schedule(NamedTuple):
    """The plan of a training run over `users` users. An epoch is len(phases) passes of steps_per_pass steps."""

    phases: tuple[str, ...]
    steps_per_pass: int
    planned_steps: int
    beta_cap: float | None
    anneal_fraction: float

    @staticmethod
    def of(users: int, model: ModelConfig, training: TrainingConfig) -> Schedule:
        """The plan; its length is that of all epochs, whenever training stops, so that a shorter run begins alike."""
        phases = phases_of(model.kind, training.encoder_passes)
        steps = math.ceil(users / training.batch_users)
        cap = model.beta_cap if model.kind == "multvae" else None
        return Schedule(phases, steps, steps * len(phases) * training.epochs, cap, model.anneal_fraction)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of all passes of an epoch."""
        return self.steps_per_pass * len(self.phases)

    def kl_weight(self, step: int) -> float:
        """What the loss multiplies the KL term by at a step; recvae weighs it itself (gamma), so 1."""
        if self.beta_cap is None:
            return 1.0
        return beta(step, self.planned_steps, self.beta_cap, self.anneal_fraction)

    def ends_encoder(self, pass_of_epoch: int) -> bool:
        """Whether this pass of an epoch (from 0) is the encoder's last."""
        return self.phases[pass_of_epoch : pass_of_epoch + 2] == ("encoder", "decoder")
