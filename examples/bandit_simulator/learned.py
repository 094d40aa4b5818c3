"""What the policies learn from, for many repetitions at once: the sums that snapshots hold, as arrays.

One step is one hour of event time and the window is 0, so the decision of step t is in the row before step t + 1. Sums
with a half-life weigh a decision of age a hours by 2^(-a / half-life). Sums of the last hours hold one step per hour. A
test compares both with rows that the statistics code of reward_stream makes of the same decisions.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from serving_client.policies.statistics import ArmStatistics

__all__ = ["Learned"]

Ints = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Learned:
    """Statistics of all arms in all repetitions. Rewards are 0 or 1.

    Args:
        repetitions: Number of repetitions.
        prior: [alpha, beta], or [mean, weight in decisions], of every arm.
        arms: Number of arms.
        half_life: Half-life in steps, or infinity.
        hours: Number of last steps that count, or None.
        delay: Steps between a decision and the first decision that knows its reward. At least 1.
        batch: Statistics are published every so many steps. 1 publishes after each.
    """

    def __init__(
        self,
        repetitions: int,
        arms: int,
        prior: tuple[float, float],
        *,
        half_life: float = math.inf,
        hours: int | None = None,
        delay: int = 1,
        batch: int = 1,
    ) -> None:
        if (half_life < math.inf or hours is not None) and (delay > 1 or batch > 1):
            raise ValueError("half_life and hours are simulated without a delay; leave out one of them")
        shape = (repetitions, arms)
        self._rows = np.arange(repetitions)
        self._keep = 2.0 ** (-1 / half_life)
        self._lag, self._batch = delay - 1, batch
        kept = max(self._lag, hours or 0, 1)
        self._hours = hours
        # A ring of the last decisions: those that wait for their reward to be known, or that will leave the window.
        self._arm, self._reward = np.zeros((kept, repetitions), np.intp), np.zeros((kept, repetitions))
        self._counts = np.zeros((kept, repetitions))
        self._n, self._sum_r, self._pending = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self._published = (np.zeros(shape), np.zeros(shape)) if batch > 1 else (self._n, self._sum_r)
        n, sum_r = self._published
        self.statistics = ArmStatistics(n, sum_r, sum_r, self._pending, np.tile(np.array(prior, float), (*shape, 1)))
        """The arms as a policy sees them. The arrays change in place. Rewards of 0 and 1 equal their squares."""

    def add(self, t: int, arm: npt.NDArray[np.intp], reward: Float64s) -> None:
        """Add the decisions of step t.

        Args:
            t: The step, from 0.
            arm: Drawn arm, [repetitions].
            reward: Reward, [repetitions].
        """
        if self._keep < 1:
            self._n *= self._keep
            self._sum_r *= self._keep
        if self._hours is not None:
            self._swap(t % self._hours, arm, reward)
            self._count(arm, reward, 1.0)
        elif self._lag:
            self._pending[self._rows, arm] += 1
            place = t % self._lag
            known, value, counts = self._arm[place].copy(), self._reward[place].copy(), self._counts[place].copy()
            self._pending[self._rows, known] -= counts
            self._count(known, value * counts, counts)
            self._put(place, arm, reward)
        else:
            self._count(arm, reward, 1.0)
            if self._batch > 1 and (t + 1) % self._batch == 0:
                self._published[0][:], self._published[1][:] = self._n, self._sum_r

    def replace(self, replaced: Bools) -> None:
        """Start arms anew. Rewards that are on their way to a replaced arm are dropped.

        Args:
            replaced: bool [repetitions, arms].
        """
        for sums in {id(each): each for each in (self._n, self._sum_r, self._pending, *self._published)}.values():
            sums[replaced] = 0.0
        repetition, arm = np.nonzero(replaced)
        at, which = np.nonzero(self._arm[:, repetition] == arm)
        self._counts[at, repetition[which]] = 0.0

    def _count(self, arm: npt.NDArray[np.intp], reward: Float64s, counts: Float64s | float) -> None:
        self._n[self._rows, arm] += counts
        self._sum_r[self._rows, arm] += reward

    def _swap(self, place: int, arm: npt.NDArray[np.intp], reward: Float64s) -> None:
        """Take the decision at a place of the ring out of the sums, and put a new one there."""
        counts = self._counts[place]
        self._count(self._arm[place], -self._reward[place] * counts, -counts)
        self._put(place, arm, reward)

    def _put(self, place: int, arm: npt.NDArray[np.intp], reward: Float64s) -> None:
        self._arm[place], self._reward[place], self._counts[place] = arm, reward, 1.0
