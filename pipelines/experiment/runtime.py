"""Compute how much longer an experiment has to run at its present traffic, spread and division.

The standard error of a lift shrinks with the square root of the decisions. The run is long enough once the interval
leaves out 0 with a power of 80%, if the true lift is the target. It takes full weeks, because weekdays differ.
"""

from __future__ import annotations

import dataclasses
import math

from pipelines.experiment.contrast import Contrast, multiplier

__all__ = ["Runtime", "runtime_of"]

_POWER_80 = 0.8416212335729143
"""The normal quantile of 80%."""
_WEEK_H = 168.0
_LONGEST_WEEKS = 104
_STEPS = 60


@dataclasses.dataclass(frozen=True, slots=True)
class Runtime:
    """How long the experiment takes.

    Args:
        target: Lift to detect, in reward units. None if there is none, for example an observed lift of 0.
        decisions: Decisions of the whole experiment that detect it. None if they take longer than two years.
        weeks: Length of the whole experiment in full weeks, at least 1. None as in `decisions`.
        days_left: Days until then, 0 if the experiment is long enough.
    """

    target: float | None
    decisions: float | None
    weeks: int | None
    days_left: float | None


def runtime_of(contrast: Contrast, target: float, decisions: float, hours: float, alpha: float) -> Runtime:
    """Compute the runtime.

    Args:
        contrast: The comparison so far.
        target: Lift to detect, in reward units.
        decisions: Decisions of the whole experiment so far, at least 1.
        hours: Hours of the whole experiment so far, greater than 0.
        alpha: Chance that the interval is ever wrong.

    Returns:
        The runtime.
    """
    size = abs(target)
    if not size:
        return Runtime(None, None, None, None)
    longest = _LONGEST_WEEKS * _WEEK_H / hours
    if not _is_seen(contrast, size, longest, alpha):
        return Runtime(target, None, None, None)
    low, high = 0.0, math.log(max(longest, 2.0))
    if _is_seen(contrast, size, 1.0, alpha):
        growth = 1.0
    else:
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if _is_seen(contrast, size, math.exp(middle), alpha) else (middle, high)
        growth = math.exp(high)
    weeks = max(1, math.ceil(growth * hours / _WEEK_H - 1e-9))
    if growth == 1.0 and hours >= _WEEK_H:
        weeks = math.floor(hours / _WEEK_H)
    return Runtime(target, growth * decisions, weeks, max(0.0, weeks * _WEEK_H - hours) / 24)


def _is_seen(contrast: Contrast, size: float, growth: float, alpha: float) -> bool:
    """Return whether the interval leaves out 0, with a power of 80%, after `growth` times the decisions so far."""
    error = math.sqrt(contrast.difference_variance / growth)
    return size >= (multiplier(contrast.units * growth, alpha) + _POWER_80) * error
