"""Find what speaks against a comparison: traffic that does not fit, arms that came later, users who depend."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from pipelines.experiment.groups import ALL, POLICY
from pipelines.experiment.hours import HOUR_US
from pipelines.experiment.result import Exposure, HeldBack
from pipelines.experiment.user_sums import UserTotals
from serving_client.contracts.bandits import Bandit
from serving_client.snapshots.snapshot import Row, Snapshot
from transforms.attribution.rules import HOLDBACK
from transforms.inference.exposure import bandit_e_value, e_values
from transforms.inference.sequences import Sample, is_outside

__all__ = ["exposure_of", "held_back_of", "limits_of", "why_by_hour"]

_SHARE_ALPHA = 0.001
"""Chance that a correct holdback share is ever called wrong, as for the exposure test."""
_ALWAYS_THERE = 0.9
"""An arm that was there less than 90% of the time is compared by hour."""
_MOST_MISSING = 0.01
"""With more decisions without a propensity than this share, arms are compared by hour. Fewer are left out."""


def why_by_hour(bandit: Bandit, snapshot: Snapshot, groups: Iterable[str]) -> list[str]:
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


def exposure_of(snapshot: Snapshot, names: Sequence[str], users: UserTotals | None) -> Exposure:
    """Test for sample-ratio mismatch, by user if the users were counted."""
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


def held_back_of(bandit: Bandit, names: Sequence[str], users: UserTotals | None) -> HeldBack | None:
    """Compare the holdback's share of the users with the bandits file. None if users were not counted."""
    if users is None or bandit.holdback is None or HOLDBACK not in names:
        return None
    held, expected = users.units[names.index(HOLDBACK)], bandit.holdback.share
    sample = Sample("binary", users.users, float(held))
    is_wrong = any(is_outside(sample, expected, _SHARE_ALPHA / 2, upwards=upwards) for upwards in (True, False))
    return HeldBack(sample.mean, expected, is_wrong)


def limits_of(bandit: Bandit, base: str, users: UserTotals | None, *, by_hour: bool) -> list[str]:
    """Return what limits the intervals, one sentence each."""
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
