"""Follow the lift day by day: whether it fades (novelty), and whether weekends differ.

The intervals of a day hold at a single look. They show the course and decide nothing. The two tests are for a warning:
a slope or a difference of more than 3 standard errors.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from pipelines.experiment.hours import DAY_US, Hourly, hourly_contrast, of_days

__all__ = ["Day", "Trend", "trend_of"]

_LEAST_DAYS = 4
_LARGE = 3.0
_WEEKEND = (2, 3)
"""Saturday and Sunday as days since 1970, modulo 7. 1970-01-01 was a Thursday."""


@dataclasses.dataclass(frozen=True, slots=True)
class Day:
    """The lift of one day (UTC).

    Args:
        start_us: Start of the day, microseconds since 1970.
        n: Decisions of both groups.
        difference: Mean less base, by hour.
        error: Its standard error.
    """

    start_us: int
    n: float
    difference: float
    error: float

    @property
    def is_weekend(self) -> bool:
        """Whether the day is a Saturday or a Sunday."""
        return self.start_us // DAY_US % 7 in _WEEKEND


@dataclasses.dataclass(frozen=True, slots=True)
class Trend:
    """The course of a lift. A z is a number of standard errors, None with too few days.

    Args:
        days: The days in which both groups were there.
        slope: Change of the lift per day, apart from weekends.
        slope_z: Its z.
        weekend: Lift on weekends less lift on weekdays, apart from the slope.
        weekend_z: Its z.
    """

    days: Sequence[Day]
    slope: float | None
    slope_z: float | None
    weekend: float | None
    weekend_z: float | None

    @property
    def fades(self) -> bool:
        """Whether the lift moves towards 0, or beyond it, with confidence: a novelty effect."""
        if self.slope is None or self.slope_z is None or abs(self.slope_z) < _LARGE:
            return False
        return self.slope * self.days[0].difference < 0

    @property
    def weekends_differ(self) -> bool:
        """Whether the lift on weekends differs from that on weekdays with confidence."""
        return self.weekend_z is not None and abs(self.weekend_z) >= _LARGE


def trend_of(group: Hourly, base: Hourly) -> Trend:
    """Compute the trend of a group's lift over a base."""
    mine, theirs = of_days(group), of_days(base)
    days = []
    for start_us in sorted(mine.keys() & theirs.keys()):
        contrast = hourly_contrast(mine[start_us], theirs[start_us])
        if contrast is not None and contrast.difference_variance > 0:
            error = math.sqrt(contrast.difference_variance)
            days.append(Day(start_us, contrast.units, contrast.difference, error))
    (slope, slope_z), (weekend, weekend_z) = _fit(days)
    return Trend(days, slope, slope_z, weekend, weekend_z)


def _fit(days: Sequence[Day]) -> tuple[tuple[float | None, float | None], tuple[float | None, float | None]]:
    """Fit lift = a + slope x day + weekend x (is a weekend) by weighted least squares. Return slope and weekend with z.

    They are fitted together, because a week ends with its weekend.
    """
    nothing = (None, None)
    if len(days) < _LEAST_DAYS:
        return nothing, nothing
    x = np.array([[1.0, day.start_us / DAY_US, day.is_weekend] for day in days])
    x[:, 1] -= x[:, 1].mean()
    both = 0 < x[:, 2].sum() < len(days)
    x = x if both else x[:, :2]
    scaled = x / np.array([[day.error] for day in days])
    covariance = np.linalg.inv(scaled.T @ scaled)
    fitted = covariance @ scaled.T @ np.array([day.difference / day.error for day in days])
    found = [
        (float(value), float(value / error)) for value, error in zip(fitted, np.sqrt(np.diag(covariance)), strict=True)
    ]
    return found[1], found[2] if both else nothing
