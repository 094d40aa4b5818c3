"""Many independent bandits with two arms, users who click late, and the times of the decisions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from serving_client.contracts.policies import DEFAULT_PRIORS, policy_of
from serving_client.contracts.times import parse_time

__all__ = ["ARMS", "DISORDER", "POLICY", "PRIOR", "Draws", "Float64s", "Ints", "World"]

Ints = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

ARMS = ("a", "b")
"""Names of the arms, in UTF-8 order."""
DISORDER = "1s"
"""The stream's --max_disorder. The log files of one router are in order, so it could be 0."""
PRIOR = DEFAULT_PRIORS["thompson_beta"]
POLICY: Mapping[str, Any] = policy_of({"kind": "thompson_beta", "floor": 0})
"""Thompson sampling as it is published: no floor. `World.bandits_file` switches the cap on cold arms off, too."""

_START_US = parse_time("2026-06-01T00:00:00Z")
_ROUND_US = 60_000_000
_WINDOW_US = 300_000_000


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """The random numbers of a round. Each array is [moments, bandits].

    Args:
        arm: Number in [0, 1) that draws the arm.
        click: Number in [0, 1). The user clicks if it is below the arm's click rate.
        delay_us: Time from the decision to the click, microseconds.
    """

    arm: Float64s
    click: Float64s
    delay_us: Ints


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """The setting of a run. All bandits decide at the same moments. A round is one minute of event time.

    Args:
        bandits: Number of bandits. The better arm is `a` in those with an even number, else `b`.
        rounds: Number of rounds. New statistics are used after each.
        moments: Decisions of a bandit per round.
        better: Click rate of the better arm.
        worse: Click rate of the worse arm.
        delay_s: Mean of the exponential delay of a click, seconds. The attribution window is 300 s.
    """

    bandits: int = 200
    rounds: int = 60
    moments: int = 50
    better: float = 0.10
    worse: float = 0.05
    delay_s: float = 120.0

    @property
    def names(self) -> list[str]:
        """Names of the bandits."""
        return [f"bandit{number:04d}" for number in range(self.bandits)]

    @property
    def window_us(self) -> int:
        """Attribution window, microseconds."""
        return _WINDOW_US

    def means(self) -> Float64s:
        """Return the click rates, float64 [bandits, arms]."""
        return np.array([(self.better, self.worse), (self.worse, self.better)])[np.arange(self.bandits) % 2]

    def times_us(self) -> Ints:
        """Return the times of the decisions, int64 [rounds * moments], microseconds. A round's last is its end."""
        return _START_US + np.arange(1, self.rounds * self.moments + 1) * _ROUND_US // self.moments

    def matured(self, watermark_us: int) -> int:
        """Return how many moments have decisions that a snapshot at this watermark counts."""
        return int(np.searchsorted(self.times_us(), watermark_us - self.window_us, side="right"))

    def draws(self, rng: np.random.Generator, copies: int = 1) -> Draws:
        """Return the random numbers of the next round, for some copies of the bandits, one copy after the other."""
        shape = (self.moments, copies * self.bandits)
        delay_us = rng.exponential(self.delay_s * 1e6, shape).astype(np.int64)
        return Draws(rng.random(shape), rng.random(shape), delay_us)

    def bandits_file(self) -> str:
        """Return the bandits file."""
        return "bandits:\n" + "".join(map(_ENTRY.format, self.names))


_ENTRY = """\
  {}:
    policy_epoch: 1
    default_arm: a
    arms: {{a: {{generation: 1, model: a}}, b: {{generation: 1, model: b}}}}
    policy: {{kind: thompson_beta, floor: 0}}
    cold: {{share: 1}}
    attribution: {{window: 300s, allowed_lateness: 60s, max_future: 5s, aggregate: any, reward_kinds: [click]}}
"""
