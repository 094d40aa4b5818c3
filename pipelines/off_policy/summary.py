"""The result of a run as values: estimates, support, weights, arms and periods, and the JSON of estimates.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.off_policy.bootstrap import REPLICATES
from pipelines.off_policy.estimators import Estimates, estimate
from pipelines.off_policy.intervals import Interval
from pipelines.off_policy.sums import ARM_COLUMNS, BIN_COLUMNS, HOUR_COLUMNS, Sums
from pipelines.off_policy.verdict import Promote, promote, propensity_notes, refusals
from pipelines.off_policy.weight_bins import edge
from serving_client.contracts.times import format_time

__all__ = ["ArmShare", "Evaluation", "Period", "WeightBin", "summarize", "to_json"]

_SCHEMA_VERSION = 1
_HOUR_US = 3_600_000_000
_MOST_PERIODS = 72
_LENGTHS = (1, 24, 24 * 7, 24 * 28)
"""Lengths of a period in hours. The first that gives at most _MOST_PERIODS periods is used."""


@dataclasses.dataclass(frozen=True)
class ArmShare:
    """One arm in the log and under the policy.

    Args:
        arm_id: Name of the arm.
        decisions: Decisions that drew the arm.
        logged_share: Their share.
        mean_reward: Their mean reward, None without decisions.
        target_share: Share of the policy's mass.
        unsupported_share: Part of it that the log could not draw.
    """

    arm_id: str
    decisions: int
    logged_share: float
    mean_reward: float | None
    target_share: float
    unsupported_share: float


@dataclasses.dataclass(frozen=True)
class Period:
    """The decisions of a period.

    Args:
        start_us: Start in microseconds since 1970.
        decisions: Number of decisions.
        mean_reward: Mean reward of the log.
        snips: SNIPS of the policy, None if all weights are 0.
        ess: Effective sample size.
        unsupported_share: Share of the policy's mass that the log could not draw.
    """

    start_us: int
    decisions: int
    mean_reward: float
    snips: float | None
    ess: float
    unsupported_share: float


@dataclasses.dataclass(frozen=True)
class WeightBin:
    """Decisions whose weight is at most `up_to` and above the last bin's.

    Args:
        up_to: Largest weight. None has no upper end.
        decisions: Number of decisions.
        weight_share: Share of the sum of all weights.
    """

    up_to: float | None
    decisions: int
    weight_share: float


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a run found.

    Args:
        bandit_id: The bandit.
        policy: The policy in words.
        decisions: Decisions that were evaluated.
        counts: Decisions by reason of `selection.LEFT_OUT`, and what the join counted.
        by_user: Decisions of a user depend on each other.
        reward_range: Smallest and largest reward that the intervals assume.
        min_ess: Smallest effective sample size.
        found: The estimates.
        unsupported_share: Share of the policy's mass that the log could not draw.
        most_weight: Largest weight.
        bound: Largest weight that a decision could have had.
        weights: Distribution of the weights, without empty bins at both ends.
        arms: Arms, the one with the largest mass first.
        periods: Periods, ascending.
        refused: Why the estimates are refused, one sentence each.
        promote: What to do with the policy.
        notes: What a reader should know beside the figures.
    """

    bandit_id: str
    policy: str
    decisions: int
    counts: Mapping[str, int]
    by_user: bool
    reward_range: Interval
    min_ess: float
    found: Estimates
    unsupported_share: float
    most_weight: float
    bound: float
    weights: Sequence[WeightBin]
    arms: Sequence[ArmShare]
    periods: Sequence[Period]
    refused: Sequence[str]
    promote: Promote
    notes: Sequence[str]

    @property
    def tau(self) -> float | None:
        """Return the largest weight that switch-DR corrects with, None without a bound."""
        return _finite(self.found.tau)


def summarize(
    sums: Sums,
    *,
    bandit_id: str,
    policy: str,
    counts: Mapping[str, int],
    by_user: bool,
    reward_range: Interval,
    min_ess: float,
    notes: Sequence[str],
) -> Evaluation:
    """Compute the result of a run from its sums.

    Args:
        sums: Sums over at least 2 decisions.
        bandit_id: The bandit.
        policy: The policy in words.
        counts: Counts of the run.
        by_user: Decisions of a user depend on each other.
        reward_range: Smallest and largest possible reward.
        min_ess: Smallest effective sample size.
        notes: Notes of the run.
    """
    n = sums.moment("n")
    found = estimate(sums, reward_range, independent=not by_user)
    unsupported = sums.moment("unsupported") / n
    arms = _arms(sums)
    missing = sorted((arm for arm in arms if arm.unsupported_share), key=_unsupported_first)
    refused = refusals(found.ess, min_ess, unsupported, [arm.arm_id for arm in missing])
    return Evaluation(
        bandit_id=bandit_id,
        policy=policy,
        decisions=int(n),
        counts=counts,
        by_user=by_user,
        reward_range=reward_range,
        min_ess=min_ess,
        found=found,
        unsupported_share=unsupported,
        most_weight=sums.most_weight,
        bound=sums.bound,
        weights=_weights(sums),
        arms=arms,
        periods=_periods(sums),
        refused=refused,
        promote=promote(policy, found, int(n), refused),
        notes=[*notes, *propensity_notes(found, unsupported)],
    )


def to_json(result: Evaluation) -> dict[str, Any]:
    """Return the content of estimates.json."""
    found = result.found
    return {
        "schema_version": _SCHEMA_VERSION,
        "bandit_id": result.bandit_id,
        "policy": result.policy,
        "decisions": result.decisions,
        "counts": dict(result.counts),
        "clusters": "user_key" if result.by_user else "none",
        "reward_range": list(result.reward_range),
        "logged": dataclasses.asdict(found.logged),
        "estimates": {
            each.name: dataclasses.asdict(each) | {"difference": dataclasses.asdict(found.differences[each.name])}
            for each in found.estimates
        },
        "tau": result.tau,
        "ess": found.ess,
        "min_ess": result.min_ess,
        "unsupported_share": result.unsupported_share,
        "weights": {
            "mean": found.mean_weight,
            "mean_interval": list(found.mean_weight_interval),
            "largest": result.most_weight,
            "bound": result.bound,
            "bins": [dataclasses.asdict(each) for each in result.weights],
        },
        "arms": [dataclasses.asdict(arm) for arm in result.arms],
        "periods": [
            {"start": format_time(each.start_us)}
            | {k: v for k, v in dataclasses.asdict(each).items() if k != "start_us"}
            for each in result.periods
        ],
        "bootstrap_replicates": REPLICATES,
        "refused": list(result.refused),
        "promote": dataclasses.asdict(result.promote),
        "notes": list(result.notes),
    }


def _arms(sums: Sums) -> list[ArmShare]:
    n, found = sums.moment("n"), []
    for arm_id, row in sums.arms.items():
        of = dict(zip(ARM_COLUMNS, row.tolist(), strict=True))
        mean = of["r"] / of["n"] if of["n"] else None
        found.append(ArmShare(arm_id, int(of["n"]), of["n"] / n, mean, of["mass"] / n, of["unsupported"] / n))
    return sorted(found, key=_largest_first)


def _largest_first(arm: ArmShare) -> tuple[float, float, bytes]:
    return -arm.target_share, -arm.logged_share, arm.arm_id.encode()


def _unsupported_first(arm: ArmShare) -> tuple[float, bytes]:
    return -arm.unsupported_share, arm.arm_id.encode()


def _periods(sums: Sums) -> list[Period]:
    first, last = min(sums.hours), max(sums.hours)
    length = next(
        (each for each in _LENGTHS if last // each - first // each < _MOST_PERIODS),
        -(-(last - first + 1) // _MOST_PERIODS),
    )
    added: dict[int, Any] = {}
    for hour, row in sorted(sums.hours.items()):
        start = hour // length * length
        added[start] = added.get(start, np.zeros(len(HOUR_COLUMNS))) + row
    found = []
    for start, row in added.items():
        of = dict(zip(HOUR_COLUMNS, row.tolist(), strict=True))
        snips = of["wr"] / of["w"] if of["w"] else None
        ess = of["w"] ** 2 / of["ww"] if of["ww"] else 0.0
        figures = (of["r"] / of["n"], snips, ess, of["unsupported"] / of["n"])
        found.append(Period(start * _HOUR_US, int(of["n"]), *figures))
    return found


def _weights(sums: Sums) -> list[WeightBin]:
    n, w = (sums.bins[:, BIN_COLUMNS.index(name)] for name in ("n", "w"))
    total = w.sum() or 1.0
    used = np.flatnonzero(n)
    numbers = [0] if n[0] else []
    positive = used[used > 0]
    if positive.size:
        numbers += range(positive[0], positive[-1] + 1)
    return [WeightBin(_finite(edge(number)), int(n[number]), float(w[number] / total)) for number in numbers]


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
