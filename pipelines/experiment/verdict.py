"""Judge an experiment from a snapshot, and from the sums of users where the logs were read.

Every arm is compared with the base: the holdback share if it has decisions, otherwise the default arm. All intervals
together are ever wrong with a chance of at most 5%, however often one looks, because each of them gets its share.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.experiment.contrast import Contrast, Group, Lift, lift_of, too_few
from pipelines.experiment.groups import ALL, POLICY, Moments, arms_of, groups_of, hours_of, moments_of
from pipelines.experiment.hours import HOUR_US, Hourly, hourly_contrast, of_days
from pipelines.experiment.runtime import Runtime, runtime_of
from pipelines.experiment.trend import Trend, trend_of
from pipelines.experiment.user_sums import UserTotals
from serving_client.contracts.bandits import Bandit
from serving_client.snapshots.snapshot import Row, Snapshot
from transforms.attribution.rules import HOLDBACK
from transforms.inference.exposure import ALARM, bandit_e_value, e_values
from transforms.inference.sequences import Sample, is_outside

__all__ = ["ALPHA", "Comparison", "Experiment", "Exposure", "HeldBack", "group_names", "judge"]

ALPHA = 0.05
_SHARE_ALPHA = 0.001
"""Chance that a correct holdback share is ever called wrong, as for the exposure test."""
_ALWAYS_THERE = 0.9
"""An arm that was there less than 90% of the time is compared by hour."""
_MOST_MISSING = 0.01
"""With more decisions without a propensity than this share, arms are compared by hour. Fewer are left out."""


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


def group_names(bandit: Bandit, snapshot: Snapshot, base: str | None = None) -> list[str]:
    """Return the groups of an experiment, the base first.

    Args:
        bandit: The bandit.
        snapshot: Its snapshot.
        base: "holdback" or "default". None takes the holdback if it has decisions.
    """
    arms = arms_of(bandit, snapshot)
    if base == "holdback" or (base is None and groups_of(bandit, snapshot, [HOLDBACK])[HOLDBACK].n):
        return [HOLDBACK, POLICY, *arms]
    return [bandit.default_arm, *(arm for arm in arms if arm != bandit.default_arm)]


def judge(
    bandit: Bandit,
    snapshot: Snapshot,
    names: Sequence[str],
    users: UserTotals | None = None,
    minimum_lift: float | None = None,
) -> Experiment:
    """Judge an experiment.

    Args:
        bandit: The bandit.
        snapshot: Its snapshot.
        names: The groups, see `group_names`.
        users: Sums of the users over `names`. None takes decisions as independent.
        minimum_lift: Relative lift that the runtime refers to. None takes the observed lift.

    Returns:
        The result.
    """
    base, others = names[0], names[1:]
    groups = groups_of(bandit, snapshot, names)
    if users is None:
        moments = moments_of(bandit, snapshot, names)
    else:
        moments = users.moments(names)
        independent = zip(groups.values(), moments.units.tolist(), strict=True)
        groups = {each.name: dataclasses.replace(each, ess=min(each.ess, units)) for each, units in independent}
    absent = _absent(bandit, snapshot, groups)
    by_hour = bool(absent)
    decisions = sum(row.n for (segment, _, _), row in snapshot.rows.items() if segment in (ALL, HOLDBACK))
    hours = _hours(snapshot, decisions)
    alpha = ALPHA / max(1, len(others))
    comparisons = []
    for name in others:
        trend = trend_of(hours_of(bandit, snapshot, name), hours_of(bandit, snapshot, base))
        contrast = _contrast(bandit, snapshot, moments, name, base, by_hour=by_hour)
        problem = too_few(groups[name]) or too_few(groups[base])
        if contrast is None:
            problem = problem or f"{name} and the base have no hour in common that the snapshot keeps"
        if contrast is None or problem is not None:
            mean = None if contrast is None else contrast.mean
            comparisons.append(Comparison(groups[name], mean, None, problem, trend, None))
            continue
        target = contrast.difference if minimum_lift is None else minimum_lift * abs(contrast.base)
        runtime = runtime_of(contrast, target, decisions, hours, alpha)
        comparisons.append(Comparison(groups[name], contrast.mean, lift_of(contrast, alpha), None, trend, runtime))
    at = moments.names.index(base)
    base_w, base_wr = moments.sums[2 * at : 2 * at + 2].tolist()
    return Experiment(
        bandit_id=bandit.bandit_id,
        policy_epoch=snapshot.policy_epoch,
        snapshot_version=snapshot.version,
        watermark_us=snapshot.watermark_us,
        base=groups[base],
        base_arm=bandit.holdback.arm if base == HOLDBACK and bandit.holdback is not None else bandit.default_arm,
        base_mean=None if by_hour or not base_w else base_wr / base_w,
        method="hour" if by_hour else "propensity",
        unit="decisions" if users is None or by_hour else "users",
        alpha=ALPHA,
        comparisons=comparisons,
        exposure=_exposure(snapshot, names, users),
        held_back=_held_back(bandit, names, users),
        decisions=decisions,
        hours=hours,
        minimum_lift=minimum_lift,
        notes=[*absent, *_notes(bandit, base, users, by_hour=by_hour)],
        by_day={name: _days(hours_of(bandit, snapshot, name)) for name in names},
    )


def _days(hourly: Hourly) -> list[tuple[int, float, float]]:
    found = []
    for start_us, hours in sorted(of_days(hourly).items()):
        n, total, _ = hours.sums.sum(axis=0).tolist()
        if n:
            found.append((start_us, n, total / n))
    return found


def _contrast(
    bandit: Bandit, snapshot: Snapshot, moments: Moments, name: str, base: str, *, by_hour: bool
) -> Contrast | None:
    if by_hour:
        return hourly_contrast(hours_of(bandit, snapshot, name), hours_of(bandit, snapshot, base))
    a, b = moments.names.index(name), moments.names.index(base)
    if not (moments.sums[2 * a] and moments.sums[2 * b]):
        return None
    return moments.contrast(name, base)


def _absent(bandit: Bandit, snapshot: Snapshot, groups: dict[str, Group]) -> list[str]:
    """Return why arms have to be compared by hour, empty if propensities do.

    The weights 1/p of an arm that is always eligible add up to the number of decisions, plus or minus a standard error
    of at most sqrt(sum w^2).
    """
    total = sum(row.n for (segment, _, _), row in snapshot.rows.items() if segment == ALL)
    found = []
    for name in groups:
        if name in (POLICY, HOLDBACK):
            continue
        row = snapshot.rows.get((ALL, name, bandit.arms[name].generation))
        if row is None or not row.n:
            continue
        w, w2, missing = (row.ipw.get(key, 0.0) for key in ("sum_w", "sum_w2", "missing"))
        if missing > _MOST_MISSING * row.n:
            found.append(f"{missing:,.0f} decisions of {name} have no propensity, so arms are compared by hour.")
        elif w + 3 * math.sqrt(w2) < _ALWAYS_THERE * total:
            share = w / total
            found.append(f"{name} was there for about {share:.0%} of the decisions, so arms are compared by hour.")
    if HOLDBACK in groups:
        first = min(_first_hours(snapshot, ALL), default=0)
        held = min(_first_hours(snapshot, HOLDBACK), default=0)
        if held > first + 24 * HOUR_US:
            found.append("The holdback began later than the arms, so arms are compared by hour.")
    return found


def _first_hours(snapshot: Snapshot, segment: str) -> list[int]:
    return [row.hours[0].start_us for (each, _, _), row in snapshot.rows.items() if each == segment and row.hours]


def _hours(snapshot: Snapshot, decisions: float) -> float:
    """Return the hours since the first decision. If the snapshot no longer has it, take the traffic of those it has."""
    rows = [row for (segment, _, _), row in snapshot.rows.items() if segment in (ALL, HOLDBACK)]
    kept = [hour for row in rows for hour in row.hours]
    if not kept:
        return 1.0
    first, last = min(hour.start_us for hour in kept), max(hour.start_us for hour in kept) + HOUR_US
    return (last - first) / HOUR_US * max(1.0, decisions / sum(hour.n for hour in kept))


def _exposure(snapshot: Snapshot, names: Sequence[str], users: UserTotals | None) -> Exposure:
    rows, tested = [_document(key, row) for key, row in snapshot.rows.items()], None
    if users is not None:
        rows, tested = users.exposure_rows(names)
    values = e_values(rows, tested)
    arm = max(values, key=lambda name: values[name]) if values else None
    return Exposure(bandit_e_value(rows, tested), arm, "decisions" if users is None else "users")


def _document(key: tuple[str, str, int], row: Row) -> dict[str, Any]:
    segment, arm_id, generation = key
    fields = {"n": row.n, "fallbacks": row.fallbacks, "ipw": row.ipw}
    return {"segment": segment, "arm_id": arm_id, "arm_generation": generation, **fields}


def _held_back(bandit: Bandit, names: Sequence[str], users: UserTotals | None) -> HeldBack | None:
    if users is None or bandit.holdback is None or HOLDBACK not in names:
        return None
    held, expected = users.units[names.index(HOLDBACK)], bandit.holdback.share
    sample = Sample("binary", users.users, float(held))
    is_wrong = any(is_outside(sample, expected, _SHARE_ALPHA / 2, upwards=upwards) for upwards in (True, False))
    return HeldBack(sample.mean, expected, is_wrong)


def _notes(bandit: Bandit, base: str, users: UserTotals | None, *, by_hour: bool) -> list[str]:
    notes = []
    if users is not None and by_hour:
        notes.append(
            "By hour, the intervals take decisions as independent, and they are too narrow for several a user."
        )
    if users is None:
        kept = "a sticky user keeps one draw" if bandit.sticky else "one user makes several decisions"
        if base == HOLDBACK:
            kept = "a user of the holdback stays in it"
        notes.append(
            f"The intervals take decisions as independent. They are too narrow where {kept}: pass --decisions and "
            "--rewards to count users."
        )
    return notes
