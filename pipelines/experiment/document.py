"""Write an experiment's result as a JSON value. It holds everything that the page shows."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from pipelines.experiment.contrast import Group
from pipelines.experiment.result import Comparison, Experiment
from pipelines.experiment.sentence import sentence
from pipelines.experiment.trend import Trend
from serving_client.contracts.times import format_time

__all__ = ["as_document"]


def as_document(experiment: Experiment) -> dict[str, Any]:
    """Return the result. An infinite e-value is null beside its verdict."""
    e_value = experiment.exposure.e_value
    return {
        "bandit_id": experiment.bandit_id,
        "policy_epoch": experiment.policy_epoch,
        "snapshot_version": experiment.snapshot_version,
        "watermark": None if experiment.watermark_us is None else format_time(experiment.watermark_us),
        "sentence": sentence(experiment),
        "confidence": 1 - experiment.alpha,
        "method": experiment.method,
        "unit": experiment.unit,
        "base": {**_group(experiment.base), "arm": experiment.base_arm, "mean_on_all_traffic": experiment.base_mean},
        "comparisons": [_comparison(each) for each in experiment.comparisons],
        "exposure": {
            "e_value": None if e_value is None or math.isinf(e_value) else e_value,
            "verdict": experiment.exposure.verdict,
            "arm": experiment.exposure.arm,
            "unit": experiment.exposure.unit,
        },
        "held_back": None if experiment.held_back is None else dataclasses.asdict(experiment.held_back),
        "decisions": experiment.decisions,
        "hours": experiment.hours,
        "minimum_lift": experiment.minimum_lift,
        "notes": list(experiment.notes),
    }


def _group(group: Group) -> dict[str, Any]:
    mean = group.sum_r / group.n if group.n else None
    return {"name": group.name, "decisions": group.n, "ess": group.ess, "mean": mean}


def _comparison(comparison: Comparison) -> dict[str, Any]:
    lift, runtime = comparison.lift, comparison.runtime
    return {
        **_group(comparison.group),
        "mean_on_all_traffic": comparison.mean,
        "verdict": comparison.verdict,
        "problem": comparison.problem,
        "lift": None if lift is None else dataclasses.asdict(lift),
        "runtime": None if runtime is None else dataclasses.asdict(runtime),
        "trend": _trend(comparison.trend),
    }


def _trend(trend: Trend) -> dict[str, Any]:
    return {
        "days": [
            {
                "date": format_time(day.start_us)[:10],
                "decisions": day.n,
                "difference": day.difference,
                "error": day.error,
            }
            for day in trend.days
        ],
        "slope_per_day": trend.slope,
        "slope_z": trend.slope_z,
        "fades": trend.fades,
        "weekend_less_weekday": trend.weekend,
        "weekend_z": trend.weekend_z,
        "weekends_differ": trend.weekends_differ,
    }
