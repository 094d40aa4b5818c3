"""Run one policy in one environment, all repetitions at once, and return the regret of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from examples.bandit_simulator.environments import Environment
from examples.bandit_simulator.learned import Learned
from serving_client.contracts.policies import DEFAULT_PRIORS, policy_of
from serving_client.policies.weights import draw

__all__ = ["simulate"]

Float64s = npt.NDArray[np.float64]

_TOLD_EVERY = 1_000


def simulate(
    environment: Environment,
    policy: Mapping[str, Any],
    steps: int,
    repetitions: int,
    seed: int,
    *,
    half_life: float = math.inf,
    hours: int | None = None,
    delay: int = 1,
    batch: int = 1,
    prior: tuple[float, float] | None = None,
    at: Sequence[int] = (),
    tell: Callable[[int], None] | None = None,
) -> Float64s:
    """Return the regret: the sum over steps of the best arm's reward probability less the drawn arm's.

    Args:
        environment: The environment.
        policy: A policy as in the bandits file, with a kind that needs no features.
        steps: Number of decisions.
        repetitions: Number of independent repetitions.
        seed: Seed of all random numbers.
        half_life: Half-life of the sums in steps.
        hours: The policy learns from so many last steps.
        delay: Steps until a reward is known.
        batch: Steps between two publications of the statistics.
        prior: Prior of every arm. None is the kind's default.
        at: Steps after which the regret is returned, ascending. Empty means after the last step alone.
        tell: Called with the number of steps done since the last call.

    Returns:
        float64 [len(at) or 1, repetitions].
    """
    rng = np.random.default_rng(seed)
    environment.start(repetitions, rng)
    full = policy_of(policy)
    learned = Learned(
        repetitions,
        environment.arms,
        prior if prior is not None else DEFAULT_PRIORS[full["kind"]],
        half_life=half_life,
        hours=hours,
        delay=delay,
        batch=batch,
    )
    rows, regret = np.arange(repetitions), np.zeros(repetitions)
    marks = list(at) or [steps]
    found = np.zeros((len(marks), repetitions))
    uniform = np.empty((0, repetitions))
    for t in range(steps):
        if t % _TOLD_EVERY == 0:
            uniform = rng.random((_TOLD_EVERY, repetitions))
            if tell is not None and t:
                tell(_TOLD_EVERY)
        means, replaced = environment.step(t)
        if replaced is not None:
            learned.replace(replaced)
        arm = draw(full, learned.statistics, rng)
        chosen = means[arm] if means.ndim == 1 else means[rows, arm]
        regret += means.max(axis=-1) - chosen
        learned.add(t, arm, (uniform[t % _TOLD_EVERY] < chosen).astype(float))
        if t + 1 in marks:
            found[marks.index(t + 1)] = regret
    return found
