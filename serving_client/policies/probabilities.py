"""Compute the probabilities that a router draws an arm with and logs: eligible arms, policy, floor and caps.

The steps, for a bandit, a segment and the eligible arms:

1. Remove arms that are not eligible, not active, rolled back, or whose ramp has a share of 0.
2. The policy gives weights to the arms that are left, computed for these arms.
3. An arm gets `floor` plus (1 - arms x floor) times its weight.
4. A ramp caps its arm at the step's share, and `cold` caps a new arm. `caps.py` gives the rest to other arms.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Collection, Mapping, Sequence
from functools import partial

import numpy as np

from serving_client.contracts.bandits import Bandit, Ramp, feature_width
from serving_client.contracts.policies import LINEAR
from serving_client.policies.caps import apply_caps
from serving_client.policies.statistics import ALL, Float64s, statistics_of
from serving_client.policies.weights import Prepared, prepare
from serving_client.snapshots.snapshot import Snapshot

__all__ = ["Allocation", "Probabilities", "allocate", "how_many", "probabilities"]


@dataclasses.dataclass(frozen=True, slots=True)
class Probabilities:
    """The probabilities of the arms that can be drawn.

    Args:
        arms: Names of the arms, in UTF-8 order. Empty if no arm is left.
        p: Probability of each arm. The sum is 1.
        cumulative: Sums of p up to each arm. From the last arm with a probability above 0 on, they are 1.
    """

    arms: tuple[str, ...]
    p: tuple[float, ...]
    cumulative: tuple[float, ...]

    def draw(self, u: float) -> int:
        """Return the position of the first arm whose cumulative probability exceeds u.

        Args:
            u: Number in [0, 1).
        """
        return bisect.bisect_right(self.cumulative, u)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Allocation:
    """What a snapshot means for a segment and a set of eligible arms. A router keeps it as long as the snapshot.

    Args:
        arms: Names of the arms that are left, in UTF-8 order.
        floor: Smallest probability of an arm.
        caps: Largest probability of each arm. None if no arm has a cap.
        default: Position of the default arm. None if it is not among the arms.
        prepared: The policy with what it learned. None if no arm is left.
        plain: The probabilities, for a policy without features. None for a policy with features.
    """

    arms: tuple[str, ...]
    floor: float
    caps: tuple[float, ...] | None
    default: int | None
    prepared: Prepared | None
    plain: Probabilities | None

    def probabilities(self, x: Float64s | None = None) -> Probabilities:
        """Return the probabilities for the features of a request.

        Args:
            x: Features of `arms`, float64 [k, width]. Only a policy with features needs them.

        Raises:
            ValueError: The policy needs features and x is None.
        """
        if self.plain is not None:
            return self.plain
        assert self.prepared is not None
        return _probabilities(self.arms, self.floor, self.caps, self.default, self.prepared, x)


def probabilities(
    bandit: Bandit,
    snapshot: Snapshot | None,
    segment: str,
    eligible: Collection[str] | None = None,
    x: Mapping[str, Sequence[float]] | None = None,
) -> Probabilities:
    """Return the probabilities of a bandit's arms.

    Args:
        bandit: The bandit.
        snapshot: The bandit's snapshot, or None. The rows of another policy_epoch do not count.
        segment: Segment of the request.
        eligible: Names of the eligible arms. None allows all. Unknown names are ignored.
        x: Features by arm, for a policy with features.

    Raises:
        ValueError: The policy needs features and x is None.
    """
    allocation = allocate(bandit, snapshot, segment, eligible)
    features = None if x is None else np.array([x[arm_id] for arm_id in allocation.arms], dtype=np.float64)
    return allocation.probabilities(features)


def allocate(
    bandit: Bandit, snapshot: Snapshot | None, segment: str, eligible: Collection[str] | None = None
) -> Allocation:
    """Return what a snapshot means for a segment and the eligible arms. The arguments are those of `probabilities`."""
    arms = tuple(sorted(_arms_left(bandit, snapshot, eligible)))  # code points sort as UTF-8 bytes do
    if not arms:
        return Allocation((), 0.0, None, None, None, Probabilities((), (), ()))
    floor, caps = float(bandit.policy["floor"]), _caps(bandit, snapshot, arms)
    default = arms.index(bandit.default_arm) if bandit.default_arm in arms else None
    prepared = prepare(bandit.policy, statistics_of(bandit, snapshot, segment, arms))
    plain = None
    if prepared.plain is not None:
        plain = _probabilities(arms, floor, caps, default, prepared, None)
    return Allocation(arms, floor, caps, default, prepared, plain)


def how_many(bandit: Bandit, size_bytes: int, most: int) -> int:
    """Return how many allocations of a bandit fit into a memory, 1 at least and `most` at most.

    An allocation takes a matrix per arm if the policy reads features. Requests choose segments, so that without a limit
    of memory their number has none.
    """
    if bandit.policy["kind"] not in LINEAR:
        return most
    return max(1, min(most, size_bytes // (len(bandit.arms) * feature_width(bandit) ** 2 * 8)))


def _arms_left(bandit: Bandit, snapshot: Snapshot | None, eligible: Collection[str] | None) -> list[str]:
    """Return the arms that can be drawn.

    A change of policy_epoch restarts the statistics, but neither what guardrails stopped nor the time of a ramp.
    """
    rolled_back = snapshot.rolled_back if snapshot is not None else frozenset()
    watermark_us = snapshot.watermark_us if snapshot is not None else None
    return [
        arm_id
        for arm_id, arm in bandit.arms.items()
        if (eligible is None or arm_id in eligible)
        and arm.state == "active"
        and (arm_id, arm.generation) not in rolled_back
        and (arm.ramp is None or _ramp_share(arm.ramp, watermark_us) > 0)
    ]


def _ramp_share(ramp: Ramp, watermark_us: int | None) -> float:
    """Return the share of the last step that the watermark has reached. Before the first step it is 0."""
    if watermark_us is None:
        return 0.0
    passed = watermark_us - ramp.started_at_us
    return next((share for after_us, share in reversed(ramp.steps) if after_us <= passed), 0.0)


def _caps(bandit: Bandit, snapshot: Snapshot | None, arms: Sequence[str]) -> tuple[float, ...] | None:
    """Return the largest probability of each arm, or None if no arm has a cap.

    An arm without a ramp is cold while its current generation has fewer than `cold.min_n` matured decisions in `*`, and
    another of the arms has that many. A fixed policy has no cold arms: its shares are the operator's decision.
    """
    known = snapshot is not None and snapshot.policy_epoch == bandit.policy_epoch
    rows = snapshot.rows if snapshot is not None and known else {}
    watermark_us = snapshot.watermark_us if snapshot is not None else None
    caps = [1.0] * len(arms)
    warm = []
    for arm_id in arms:
        row = rows.get((ALL, arm_id, bandit.arms[arm_id].generation))
        warm.append(row is not None and row.n >= bandit.cold.min_n)
    caps_cold = any(warm) and bandit.policy["kind"] != "fixed"
    for at, arm_id in enumerate(arms):
        ramp = bandit.arms[arm_id].ramp
        if ramp is not None:
            caps[at] = _ramp_share(ramp, watermark_us)
        elif caps_cold and not warm[at]:
            caps[at] = bandit.cold.share
    return tuple(caps) if min(caps) < 1 else None


def _probabilities(
    arms: tuple[str, ...],
    floor: float,
    caps: tuple[float, ...] | None,
    default: int | None,
    prepared: Prepared,
    x: Float64s | None,
) -> Probabilities:
    weights = prepared.weights(x).tolist()
    if caps is not None:
        p = apply_caps(weights, floor, caps, default, partial(_weights_of, prepared, x))
    else:
        p = [floor + (1 - len(arms) * floor) * weight for weight in weights]
    total = sum(p)
    p = [each / total for each in p]
    cumulative = list(itertools.accumulate(p))
    last = max(at for at, each in enumerate(p) if each > 0)
    cumulative = [min(each, 1.0) for each in cumulative[:last]] + [1.0] * (len(p) - last)
    return Probabilities(arms, tuple(p), tuple(cumulative))


def _weights_of(prepared: Prepared, x: Float64s | None, arms: Sequence[int]) -> list[float]:
    """Return the policy's weights for the arms at these positions alone."""
    weights: list[float] = prepared.take(arms).weights(None if x is None else x[list(arms)]).tolist()
    return weights
