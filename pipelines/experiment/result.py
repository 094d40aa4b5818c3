"""The result of an experiment, as plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from pipelines.experiment.contrast import Group, Lift
from pipelines.experiment.groups import POLICY
from pipelines.experiment.runtime import Runtime
from pipelines.experiment.trend import Trend
from transforms.inference.exposure import ALARM

__all__ = ["Comparison", "Experiment", "Exposure", "HeldBack"]


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """A group against the base.

    Args:
        group: What was observed of the group.
        mean: Estimated mean reward on all traffic. None if the two have nothing in common.
        lift: Lift over the base. None as long as `problem` says why there is none.
        problem: Why there is no lift. None if there is one.
        trend: Course of the lift by day.
        runtime: How long the experiment takes. None without a lift.
    """

    group: Group
    mean: float | None
    lift: Lift | None
    problem: str | None
    trend: Trend
    runtime: Runtime | None

    @property
    def verdict(self) -> str:
        """Return better, worse, open or unknown."""
        if self.lift is None:
            return "unknown"
        return "better" if self.lift.low > 0 else "worse" if self.lift.high < 0 else "open"


@dataclasses.dataclass(frozen=True, slots=True)
class Exposure:
    """The test for sample-ratio mismatch.

    Args:
        e_value: The e-value. None without a verdict.
        arm: The arm with the largest excess of traffic.
        unit: "decisions" or "users".
    """

    e_value: float | None
    arm: str | None
    unit: str

    @property
    def verdict(self) -> str:
        """Return ok, mismatch or unknown."""
        if self.e_value is None:
            return "unknown"
        return "mismatch" if self.e_value >= ALARM else "ok"


@dataclasses.dataclass(frozen=True, slots=True)
class HeldBack:
    """The holdback share by user.

    Args:
        share: Share of the users in the log.
        expected: Share in the bandits file.
        is_wrong: Whether the two differ with confidence.
    """

    share: float
    expected: float
    is_wrong: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Experiment:
    """The result.

    Args:
        bandit_id: The bandit.
        policy_epoch: Its epoch.
        snapshot_version: Version of the snapshot.
        watermark_us: Watermark of the snapshot, microseconds.
        base: What was observed of the base.
        base_arm: The arm that the base shows.
        base_mean: Mean reward of the base on all traffic. None if arms are compared by hour.
        method: "propensity" or "hour".
        unit: "decisions" or "users".
        alpha: Chance that any interval is ever wrong.
        comparisons: The groups, in the order of the bandits file.
        exposure: The test for sample-ratio mismatch.
        held_back: The holdback share, if it was counted by user.
        decisions: Decisions of the epoch, the holdback share included.
        hours: Hours of the epoch so far.
        minimum_lift: Relative lift that the runtimes refer to. None takes each observed lift.
        notes: What limits the result, one sentence each.
        by_day: By group, start of the day in microseconds, decisions and mean reward of each day that is kept.
    """

    bandit_id: str
    policy_epoch: int
    snapshot_version: int
    watermark_us: int | None
    base: Group
    base_arm: str
    base_mean: float | None
    method: str
    unit: str
    alpha: float
    comparisons: Sequence[Comparison]
    exposure: Exposure
    held_back: HeldBack | None
    decisions: float
    hours: float
    minimum_lift: float | None
    notes: Sequence[str]
    by_day: Mapping[str, Sequence[tuple[int, float, float]]]

    @property
    def arms(self) -> list[Comparison]:
        """The comparisons of single arms."""
        return [each for each in self.comparisons if each.group.name != POLICY]
