"""Users of four kinds, each with another best arm: what a policy gains by features or segments.

No published figure exists for this environment. The table compares policies with each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from serving_client.contracts.policies import DEFAULT_PRIORS, policy_of
from serving_client.policies.statistics import ArmStatistics
from serving_client.policies.weights import draw, prepare

__all__ = ["RUNS", "ContextualRun", "simulate_contextual"]

Float64s = npt.NDArray[np.float64]

MEANS = np.array([[0.5, 0.3, 0.3], [0.3, 0.5, 0.3], [0.3, 0.3, 0.5], [0.5, 0.3, 0.3]])
"""Reward probability by kind of user and arm."""
BATCH = 100
"""Steps between two publications of the statistics."""


@dataclasses.dataclass(frozen=True)
class ContextualRun:
    """A policy, and what it knows of a user: "features" (x one-hot by kind), "segments" (a row each) or "nothing"."""

    name: str
    policy: Mapping[str, Any]
    knows: str


RUNS = (
    ContextualRun("Thompson, without context", {"kind": "thompson_beta"}, "nothing"),
    ContextualRun("Thompson, a segment per kind", {"kind": "thompson_beta"}, "segments"),
    ContextualRun("LinUCB, exploration .5", {"kind": "linucb", "exploration": 0.5}, "features"),
    ContextualRun("LinTS, noise .5", {"kind": "lints", "noise": 0.5}, "features"),
)


def simulate_contextual(
    run: ContextualRun, steps: int, repetitions: int, seed: int, tell: Callable[[int], None] | None = None
) -> Float64s:
    """Return the regret of each repetition, float64 [repetitions].

    Args:
        run: The policy.
        steps: Number of decisions.
        repetitions: Number of independent repetitions.
        seed: Seed of all random numbers.
        tell: Called with the number of steps done since the last call.
    """
    rng, policy = np.random.default_rng(seed), policy_of(run.policy)
    kinds, arms = MEANS.shape
    d = kinds if run.knows == "features" else 0
    rows, regret = np.arange(repetitions), np.zeros(repetitions)
    n, sum_r = np.zeros((2, repetitions, kinds, arms))
    for _ in range(0, steps, BATCH):
        users = rng.integers(kinds, size=(BATCH, repetitions))
        if d:
            prepared = prepare(policy, _linear(n, sum_r))
            drawn = [prepared.draw(rng, _one_hot(kind, arms, kinds)) for kind in users]
        elif run.knows == "segments":
            whole = _plain(n, sum_r, policy["kind"])
            drawn = [draw(policy, _of_users(whole, rows, kind), rng) for kind in users]
        else:
            whole = _plain(n.sum(axis=1), sum_r.sum(axis=1), policy["kind"])
            drawn = [draw(policy, whole, rng) for _ in users]
        for kind, arm in zip(users, drawn, strict=True):
            chance = MEANS[kind, arm]
            regret += MEANS[kind].max(axis=1) - chance
            n[rows, kind, arm] += 1
            sum_r[rows, kind, arm] += rng.random(repetitions) < chance
        if tell is not None:
            tell(BATCH)
    return regret


def _plain(n: Float64s, sum_r: Float64s, kind: str) -> ArmStatistics:
    prior = np.broadcast_to(np.array(DEFAULT_PRIORS[kind]), (*n.shape, 2))
    return ArmStatistics(n, sum_r, sum_r, np.zeros(n.shape), prior)


def _of_users(whole: ArmStatistics, rows: npt.NDArray[np.intp], kind: npt.NDArray[np.int64]) -> ArmStatistics:
    """Return the rows of each repetition's user, [repetitions, arms]."""
    n, sum_r = whole.n[rows, kind], whole.sum_r[rows, kind]
    return ArmStatistics(n, sum_r, sum_r, whole.pending[rows, kind], whole.prior[rows, kind])


def _linear(n: Float64s, sum_r: Float64s) -> ArmStatistics:
    """Return the sums of one-hot features: X'X = diag(n by kind), X'r = sum_r by kind."""
    by_arm, rewards = n.swapaxes(1, 2), sum_r.swapaxes(1, 2)
    xtx = by_arm[..., None] * np.eye(by_arm.shape[-1])
    total = n.sum(axis=1)
    prior = np.zeros((*total.shape, 2))
    sums = rewards.sum(axis=-1)
    return ArmStatistics(total, sums, sums, np.zeros(total.shape), prior, xtx, rewards.copy())


def _one_hot(kind: npt.NDArray[np.int64], arms: int, kinds: int) -> Float64s:
    """Return x, float64 [repetitions, arms, kinds]: the same for all arms."""
    return np.repeat(np.eye(kinds)[kind][:, None, :], arms, axis=1)
