"""Known environments: the reward probability of every arm at every step.

An environment has `arms` arms. `step` moves it on by one step and returns the reward probabilities, float64
[repetitions, arms] or [arms] where all repetitions are alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Environment", "Piecewise", "Replaced", "stationary"]

Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Environment(Protocol):
    """What `simulate` needs of an environment."""

    arms: int

    def start(self, repetitions: int, rng: np.random.Generator) -> None:
        """Draw the first state."""

    def step(self, t: int) -> tuple[Float64s, Bools | None]:
        """Move on to step t.

        Returns:
            Reward probabilities, and the arms whose item was replaced by another, bool [repetitions, arms]. None if no
            arm was replaced.
        """


@dataclasses.dataclass
class Piecewise:
    """Reward probabilities that change at known steps.

    Args:
        means: Reward probabilities of each piece, in order.
        starts: First step of each piece. The first is 0.
    """

    means: Sequence[Sequence[float]]
    starts: Sequence[int]

    def __post_init__(self) -> None:
        self.arms = len(self.means[0])
        self._pieces = np.array(self.means)

    def start(self, repetitions: int, rng: np.random.Generator) -> None:
        """Do nothing: the state depends on the step alone."""

    def step(self, t: int) -> tuple[Float64s, Bools | None]:
        """Return the piece's reward probabilities."""
        return self._pieces[int(np.searchsorted(self.starts, t, side="right")) - 1], None


def stationary(means: Sequence[float]) -> Piecewise:
    """Return an environment that never changes."""
    return Piecewise([means], [0])


@dataclasses.dataclass
class Replaced:
    """Items that come and go (Chapelle and Li 2011, section 4): now and then one of the items is replaced by a new one.

    Args:
        arms: Number of items.
        chance: Probability, at each step, that one item is replaced.
        alpha: First parameter of the Beta distribution of a new item's reward probability.
        beta: Its second parameter.
    """

    arms: int = 10
    chance: float = 1e-3
    alpha: float = 4.0
    beta: float = 4.0

    def start(self, repetitions: int, rng: np.random.Generator) -> None:
        """Draw the first items."""
        self._rng = rng
        self._means = rng.beta(self.alpha, self.beta, (repetitions, self.arms))
        self._next = rng.geometric(self.chance, repetitions) - 1

    def step(self, t: int) -> tuple[Float64s, Bools | None]:
        """Replace items where the time has come."""
        (due,) = np.nonzero(self._next == t) if (self._next == t).any() else ((),)
        if not len(due):
            return self._means, None
        replaced = np.zeros(self._means.shape, bool)
        replaced[due, self._rng.integers(self.arms, size=len(due))] = True
        self._means[replaced] = self._rng.beta(self.alpha, self.beta, len(due))
        self._next[due] += self._rng.geometric(self.chance, len(due))
        return self._means, replaced
