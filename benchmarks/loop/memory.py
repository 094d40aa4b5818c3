"""The same policy without router, log files, stream and snapshots: statistics in arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.loop.world import POLICY, PRIOR, Draws, Float64s, Ints, World
from serving_client.policies.statistics import ArmStatistics
from serving_client.policies.weights import draw, weights

__all__ = ["Memory", "arms_by_weights", "regret_in_memory"]


class Memory:
    """What the decisions and clicks so far amount to.

    Args:
        world: The setting.
        copies: Number of copies of the world's bandits.
    """

    def __init__(self, world: World, copies: int = 1) -> None:
        self._world = world
        self._rows = np.arange(copies * world.bandits)
        self._means = np.tile(world.means(), (copies, 1))
        self._open: list[tuple[Ints, Float64s]] = []  # arms and rewards of each moment that is not matured
        self._matured = 0
        self._shape = (len(self._rows), self._means.shape[1])
        self.n, self.sum_r = np.zeros(self._shape), np.zeros(self._shape)
        self.regret = np.zeros(len(self._rows))

    def clicks(self, arm: Ints, click: Float64s) -> npt.NDArray[np.bool_]:
        """Return which decisions are clicked at some time, bool [..., bandits], for such arms and random numbers."""
        clicked: npt.NDArray[np.bool_] = click < self._means[self._rows, arm]
        return clicked

    def add(self, arm: Ints, draws: Draws) -> None:
        """Add the decisions of a round.

        Args:
            arm: Drawn arms, int64 [moments, bandits].
            draws: Random numbers of the round.
        """
        counted = self.clicks(arm, draws.click) & (draws.delay_us <= self._world.window_us)
        self._open += zip(arm, counted.astype(np.float64), strict=True)
        self.regret += (self._means.max(axis=1) - self._means[self._rows, arm]).sum(axis=0)

    def mature(self, matured: int) -> None:
        """Count the decisions of the first moments, so many since the beginning."""
        for arm, reward in self._open[: matured - self._matured]:
            self.n[self._rows, arm] += 1
            self.sum_r[self._rows, arm] += reward
        del self._open[: matured - self._matured]
        self._matured = matured

    def statistics(self) -> ArmStatistics:
        """Return what the policy sees. Rewards of 0 and 1 equal their squares. Thompson ignores pending."""
        prior = np.broadcast_to(np.array(PRIOR, np.float64), (*self._shape, 2))
        return ArmStatistics(self.n, self.sum_r, self.sum_r, np.zeros(self._shape), prior)


def arms_by_weights(statistics: ArmStatistics, draws: Draws) -> Ints:
    """Return the arms that a router draws in a round with these numbers, int64 [moments, bandits]."""
    p = weights(POLICY, statistics)
    return (draws.arm >= p[:, 0] / p.sum(axis=1)).astype(np.int64)


def regret_in_memory(world: World, matured: Sequence[int], copies: int, rng: np.random.Generator) -> Float64s:
    """Return the regret of the policy with random numbers of its own, float64 [copies * bandits].

    Args:
        world: The setting.
        matured: By round, how many moments the statistics after it count.
        copies: Number of copies of the world's bandits. More of them make the mean more exact.
        rng: Source of randomness.
    """
    memory = Memory(world, copies)
    for count in matured:
        draws, known = world.draws(rng, copies), memory.statistics()
        shape = (*draws.arm.shape, known.n.shape[1])
        n, sum_r = np.broadcast_to(known.n, shape), np.broadcast_to(known.sum_r, shape)
        prior = np.broadcast_to(known.prior, (*shape, 2))
        memory.add(draw(POLICY, ArmStatistics(n, sum_r, sum_r, np.zeros(shape), prior), rng), draws)
        memory.mature(count)
    return memory.regret
