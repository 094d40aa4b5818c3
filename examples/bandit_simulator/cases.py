"""The published and the reference cases: what is simulated, and which figures stand beside it.

Chapelle and Li 2011, table 1, names regrets for four delays. The rows of the reference were simulated before this
project, once with each reward lagged by the delay and once with batches of the delay. The piecewise case is problem 1
of SMPyBandits (Besson 2018). All cases run with `floor: 0` and without a cap on cold arms.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from examples.bandit_simulator.environments import Environment, Piecewise, Replaced, stationary

__all__ = ["CASES", "Case", "Run", "half_life_of"]

_PROBLEM_1 = ([0.3, 0.5, 0.9], [0.3, 0.2, 0.9], [0.3, 0.2, 0.1], [0.7, 0.2, 0.1], [0.7, 0.5, 0.1])
_SWITCH = ([0.5, 0.3, 0.4], [0.5, 0.3, 0.9], [0.5, 0.3, 0.4])
_THOMPSON = {"kind": "thompson_beta"}


def half_life_of(discount: float) -> float:
    """Return the half-life in steps of a discount per step."""
    return math.inf if discount == 1 else -math.log(2) / math.log(discount)


@dataclasses.dataclass(frozen=True)
class Run:
    """One policy in a case, with the figure that it is compared with.

    Args:
        name: What the table calls it.
        policy: The policy as in the bandits file.
        reference: Mean regret of the reference. None if there is none.
        reference_error: Standard error of `reference`. None if the source does not give it.
        published: Regret as published. None if it was not.
        half_life: As in `simulate`.
        hours: As in `simulate`.
        delay: As in `simulate`.
        batch: As in `simulate`.
        at: Step after which the regret is measured. None is the last.
    """

    name: str
    policy: Mapping[str, Any]
    reference: float | None = None
    reference_error: float | None = None
    published: float | None = None
    half_life: float = math.inf
    hours: int | None = None
    delay: int = 1
    batch: int = 1
    at: int | None = None


@dataclasses.dataclass(frozen=True)
class Case:
    """An environment with the policies that run in it.

    Args:
        title: Title of the table.
        environment: The environment.
        steps: Number of decisions.
        repetitions: Number of repetitions, unless the caller says otherwise.
        runs: The policies.
        within: Largest difference to a reference as a share of it, beside 3 standard errors. 0 allows none.
    """

    title: str
    environment: Environment
    steps: int
    repetitions: int
    runs: tuple[Run, ...]
    within: float = 0.0


def _deviation(deviation: float, repetitions: int = 200) -> float:
    return deviation / math.sqrt(repetitions)


def _delays(kind: str, published: tuple[float, ...]) -> tuple[Run, ...]:
    lagged, batches = (9_510, 13_168, 24_987, 60_351), (9_518, 11_109, 16_544, 34_895)
    runs = []
    for at, delay in enumerate((1, 100, 316, 1_000)):
        runs.append(Run(f"{kind}, lag {delay}", _THOMPSON, lagged[at], None, published[at], delay=delay))
        runs.append(Run(f"{kind}, batches of {delay}", _THOMPSON, batches[at], None, published[at], batch=delay))
    return tuple(runs)


def _discounted(discount: float, reference: float, error: float | None = None) -> Run:
    return Run(f"Thompson, discount {discount}", _THOMPSON, reference, error, half_life=half_life_of(discount))


CASES: Mapping[str, Case] = {
    "stationary": Case(
        "Stationary: one arm at .5, nine at .4, statistics every 100 steps",
        stationary([0.5] + [0.4] * 9),
        100_000,
        200,
        (
            Run("Thompson, after 10,000", _THOMPSON, 166.5, 5.5, batch=100, at=10_000),
            Run("Thompson, after 100,000", _THOMPSON, 250.6, None, batch=100),
        ),
    ),
    "piecewise": Case(
        "SMPyBandits problem 1: three arms, a change every 1,000 of 5,000 steps",
        Piecewise(_PROBLEM_1, range(0, 5_000, 1_000)),
        5_000,
        200,
        (
            Run("Thompson", _THOMPSON, 495, _deviation(159)),
            _discounted(0.95, 424),
            _discounted(0.98, 260),
            _discounted(0.99, 188),
            _discounted(0.995, 157),
            Run("Thompson, last 206", _THOMPSON, 135, _deviation(14), hours=206),
            Run("UCB1", {"kind": "ucb1"}, 247, _deviation(19)),
        ),
    ),
    "switching": Case(
        "Switching: .5 .3 .4, and the third arm at .9 from 3,000 to 5,000 of 10,000 steps",
        Piecewise(_SWITCH, [0, 3_000, 5_000]),
        10_000,
        200,
        (
            Run("Thompson", _THOMPSON, 772),
            _discounted(0.9975, 270),
            Run("Thompson, last 1,213", _THOMPSON, 253, hours=1_213),
            Run("UCB1", {"kind": "ucb1"}, 605),
            Run("epsilon-greedy, .1", {"kind": "epsilon_greedy", "epsilon": 0.1}, 858),
        ),
    ),
    "replaced": Case(
        "Chapelle and Li 2011, table 1: ten items, now and then a new one, 1,000,000 steps",
        Replaced(),
        1_000_000,
        20,
        _delays("Thompson", (9_105, 11_550, 21_594, 59_256)),
        within=0.05,
    ),
}
