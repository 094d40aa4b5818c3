"""What the router's defaults cost in regret, and what they save when a new arm is bad.

Two arms with a reward in 20 decisions have served 20,000 decisions each. Then another arm comes, the second in order.
Rewards count when their window closes, WINDOW snapshots later. A Beta prior of [1, 1] has a mean of .5. So, without a
cap, the new arm takes nearly all traffic until its first rewards count.

The probabilities are those of `probabilities`, with real snapshots, for each repetition on its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from serving_client.contracts.bandits import Arm, Attribution, Bandit, Cold
from serving_client.contracts.policies import policy_of
from serving_client.policies.probabilities import probabilities
from serving_client.snapshots.snapshot import Row, Snapshot

__all__ = ["NEW_ARMS", "SETTINGS", "Setting", "simulate_defaults"]

Float64s = npt.NDArray[np.float64]

PUBLISHED_EVERY = 100
WINDOW = 10
"""Snapshots until a decision has matured: 1,000 decisions."""
KNOWN = (20_000, 1_000)
"""Decisions and rewards of each of the two old arms."""
NEW_ARMS = {"bad: .01": 0.01, "equal: .05": 0.05, "good: .08": 0.08}
"""Reward probability of the new arm."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """A floor and a cap on cold arms."""

    name: str
    floor: float
    cold_share: float


SETTINGS = (
    Setting("no floor, no cap", 0.0, 1.0),
    Setting("cap of .1 until 500 decisions (default)", 0.0, 0.1),
    Setting("the same cap, floor .02", 0.02, 0.1),
)


def simulate_defaults(
    setting: Setting,
    new: float,
    steps: int,
    repetitions: int,
    seed: int,
    tell: Callable[[int], None] | None = None,
) -> Float64s:
    """Return the regret of each repetition, float64 [repetitions].

    Args:
        setting: Floor and cap.
        new: Reward probability of the new arm.
        steps: Number of decisions after the new arm has come.
        repetitions: Number of independent repetitions.
        seed: Seed of all random numbers.
        tell: Called with 1 after each repetition.
    """
    bandit, means = _bandit(setting), np.array([0.05, new, 0.05])
    regret = np.zeros(repetitions)
    for repetition in range(repetitions):
        rng = np.random.default_rng([seed, repetition])
        n, sum_r = np.array([KNOWN[0], 0, KNOWN[0]]), np.array([KNOWN[1], 0, KNOWN[1]])
        open_: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
        for version in range(steps // PUBLISHED_EVERY):
            if len(open_) == WINDOW:
                decided, rewarded = open_.pop(0)
                n, sum_r = n + decided, sum_r + rewarded
            p = np.array(probabilities(bandit, _snapshot(bandit, version, n, sum_r), "*").p)
            decided = rng.multinomial(PUBLISHED_EVERY, p / p.sum())
            open_.append((decided, rng.binomial(decided, means)))
            regret[repetition] += float(decided @ (means.max() - means))
        if tell is not None:
            tell(1)
    return regret


def _bandit(setting: Setting) -> Bandit:
    arms = {arm_id: Arm(arm_id, 1, arm_id) for arm_id in ("arm_1", "arm_2", "arm_3")}
    return Bandit(
        bandit_id="defaults",
        policy_epoch=1,
        default_arm="arm_1",
        arms=arms,
        policy=policy_of({"kind": "thompson_beta", "floor": setting.floor}),
        attribution=Attribution(window_us=1, allowed_lateness_us=1),
        prior=dict.fromkeys(arms, (1.0, 1.0)),
        cold=Cold(share=setting.cold_share),
    )


def _snapshot(bandit: Bandit, version: int, n: npt.NDArray[np.int64], sum_r: npt.NDArray[np.int64]) -> Snapshot:
    rows = {
        ("*", arm_id, 1): Row(float(n[at]), float(sum_r[at]), float(sum_r[at])) for at, arm_id in enumerate(bandit.arms)
    }
    return Snapshot("defaults", version + 1, 1, 0, 0, "", rows)
