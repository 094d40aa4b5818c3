"""Summarize a snapshot: its arms with their estimates, its age, and whether exposure fits the propensities."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.reward_stream.inspect.estimates import Estimate, estimate
from serving_client.contracts.times import parse_time
from transforms.inference.exposure import ALARM, bandit_e_value, e_values, gaps

__all__ = ["Arm", "Exposure", "Summary", "as_json", "summarize"]


_SILENT_S = 300  # as in the alert RewardStreamSourceSilent


@dataclasses.dataclass(frozen=True, slots=True)
class Arm:
    """Hold a row. `share` is its share of the n of its segment, None if that is 0."""

    segment: str
    arm_id: str
    generation: int
    n: int
    share: float | None
    pending: int
    fallbacks: int
    estimate: Estimate


@dataclasses.dataclass(frozen=True, slots=True)
class Exposure:
    """Hold the result of the test for sample-ratio mismatch on decisions or users (`unit`).

    `e_value` is None without a verdict, and `missing` holds the reason. `arm` is the arm with the largest excess.
    """

    e_value: float | None
    arm: str | None
    unit: str
    tested: int
    missing: str | None

    @property
    def verdict(self) -> str:
        """Return ok, mismatch or unknown."""
        if self.e_value is None:
            return "unknown"
        return "mismatch" if self.e_value >= ALARM else "ok"


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """Hold a summary of one bandit's newest snapshot.

    Lags and ages are in seconds. `segments_left` holds the segments that are not among `arms`. `source_age_s` is
    the time since each source delivered. It is empty but for the stream's own snapshot.
    """

    bandit_id: str
    policy_epoch: int | None
    version: int
    final: bool
    watermark: str | None
    event_time_lag_s: float | None
    age_s: float
    counters: Mapping[str, int]
    arms: Sequence[Arm]
    segments_left: int
    rolled_back: Sequence[Mapping[str, Any]]
    exposure: Exposure | None
    source_age_s: Mapping[str, float]

    @property
    def silent(self) -> list[str]:
        """Return the sources that are silent while the other one delivered. Both are silent without traffic, too."""
        quiet = [source for source, age_s in self.source_age_s.items() if age_s >= _SILENT_S]
        return quiet if len(quiet) < len(self.source_age_s) else []


def summarize(
    document: Mapping[str, Any],
    now_us: int,
    segments: Sequence[str] | None = ("*",),
    users: Sequence[Mapping[str, Any]] | None = None,
) -> Summary:
    """Summarize one snapshot.

    Args:
        document: The parsed snapshot.
        now_us: The clock, microseconds.
        segments: Segments to show. None shows all.
        users: Rows of `exposure_by_user` for this bandit. None tests decisions.

    Returns:
        The summary.
    """
    rows: Sequence[Mapping[str, Any]] = document.get("arms", ())
    present = sorted({row["segment"] for row in rows}, key=lambda segment: (segment != "*", segment))
    chosen = present if segments is None else [segment for segment in present if segment in segments]
    return Summary(
        bandit_id=document["bandit_id"],
        policy_epoch=document.get("policy_epoch"),
        version=document["version"],
        final=document["final"],
        watermark=document["watermark"],
        event_time_lag_s=document["event_time_lag"],
        age_s=(now_us - parse_time(document["published_at"])) / 1e6,
        counters={name: count for name, count in document["counters"].items() if count},
        arms=[arm for segment in chosen for arm in _arms(rows, segment)],
        segments_left=len(present) - len(chosen),
        rolled_back=document.get("rolled_back", ()),
        exposure=None if "arms" not in document else _exposure(rows, users),
        source_age_s={
            source: (now_us - parse_time(at)) / 1e6 for source, at in sorted(document.get("delivered_at", {}).items())
        },
    )


def as_json(summary: Summary) -> dict[str, Any]:
    """Return a summary as a JSON value. An infinite e-value becomes null beside its verdict."""
    fields = dataclasses.asdict(summary) | {"silent": summary.silent}
    if summary.exposure is not None:
        e_value = summary.exposure.e_value
        fields["exposure"]["e_value"] = None if e_value is None or math.isinf(e_value) else e_value
        fields["exposure"]["verdict"] = summary.exposure.verdict
    return fields


def _arms(rows: Sequence[Mapping[str, Any]], segment: str) -> list[Arm]:
    own = [row for row in rows if row["segment"] == segment]
    total = sum(row["n"] for row in own)
    return [
        Arm(
            segment=segment,
            arm_id=row["arm_id"],
            generation=row["arm_generation"],
            n=row["n"],
            share=row["n"] / total if total else None,
            pending=row["pending"],
            fallbacks=row["fallbacks"],
            estimate=estimate(row),
        )
        for row in sorted(own, key=lambda row: (row["arm_id"], row["arm_generation"]))
    ]


def _exposure(rows: Sequence[Mapping[str, Any]], users: Sequence[Mapping[str, Any]] | None) -> Exposure:
    counted, unit = (rows, "decisions") if users is None else (users, "users")
    values = e_values(counted)
    return Exposure(
        e_value=bandit_e_value(counted),
        arm=max(values, key=lambda arm: values[arm]) if values else None,
        unit=unit,
        tested=sum(row["n"] + row["fallbacks"] for row in counted if row["segment"] == "*"),
        missing=None if values else _missing(counted, unit),
    )


def _missing(rows: Sequence[Mapping[str, Any]], unit: str) -> str:
    """Return why there is no verdict."""
    if len({row["arm_id"] for row in rows if row["segment"] == "*"}) == 1:
        return "one arm, nothing to compare"
    if left := gaps(rows):
        arm, generation = left[0]
        others = f" and {len(left) - 1:,} more are" if len(left) > 1 else " is"
        return (
            f"no verdict, generation {generation} of {arm}{others} not in this snapshot; --decisions=GLOB tests by user"
        )
    return f"not yet (no decision {'has matured' if unit == 'decisions' else 'of a user in --decisions'})"
