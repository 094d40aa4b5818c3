"""Judge an experiment from a snapshot, and from the sums of users where the logs were read.

Every arm is compared with the base: the holdback share if it has decisions, otherwise the default arm. All intervals
together are ever wrong with a chance of at most 5%, however often one looks, because each of them gets its share.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pipelines.experiment.contrast import Contrast, Group, lift_of, too_few
from pipelines.experiment.doubts import exposure_of, held_back_of, limits_of, why_by_hour
from pipelines.experiment.groups import ALL, POLICY, Moments, arms_of, groups_of, hours_of, in_words, moments_of
from pipelines.experiment.hours import HOUR_US, Hourly, hourly_contrast, of_days
from pipelines.experiment.result import Comparison, Experiment
from pipelines.experiment.runtime import runtime_of
from pipelines.experiment.trend import trend_of
from pipelines.experiment.user_sums import UserTotals
from serving_client.contracts.bandits import Bandit
from serving_client.snapshots.snapshot import Snapshot
from transforms.attribution.rules import HOLDBACK

__all__ = ["group_names", "judge"]

_ALPHA = 0.05


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
    absent = why_by_hour(bandit, snapshot, names)
    by_hour = bool(absent)
    decisions = sum(row.n for (segment, _, _), row in snapshot.rows.items() if segment in (ALL, HOLDBACK))
    hours = _hours(snapshot, decisions)
    alpha = _ALPHA / max(1, len(others))
    comparisons = []
    for name in others:
        trend = trend_of(hours_of(bandit, snapshot, name), hours_of(bandit, snapshot, base))
        contrast = _contrast(bandit, snapshot, moments, name, base, by_hour=by_hour)
        problem = too_few(_named(groups[name])) or too_few(_named(groups[base]))
        if contrast is None:
            problem = problem or f"{in_words(name)} and the base have no hour in common that the snapshot keeps"
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
        alpha=_ALPHA,
        comparisons=comparisons,
        exposure=exposure_of(snapshot, names, users),
        held_back=held_back_of(bandit, names, users),
        decisions=decisions,
        hours=hours,
        minimum_lift=minimum_lift,
        notes=[*absent, *limits_of(bandit, base, users, by_hour=by_hour)],
        by_day={name: _days(hours_of(bandit, snapshot, name)) for name in names},
    )


def _named(group: Group) -> Group:
    return dataclasses.replace(group, name=in_words(group.name))


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


def _hours(snapshot: Snapshot, decisions: float) -> float:
    """Return the hours since the first decision. If the snapshot no longer has it, take the traffic of those it has."""
    rows = [row for (segment, _, _), row in snapshot.rows.items() if segment in (ALL, HOLDBACK)]
    kept = [hour for row in rows for hour in row.hours]
    if not kept:
        return 1.0
    first, last = min(hour.start_us for hour in kept), max(hour.start_us for hour in kept) + HOUR_US
    return (last - first) / HOUR_US * max(1.0, decisions / sum(hour.n for hour in kept))
