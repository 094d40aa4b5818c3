"""Compare two groups hour by hour, so that neither a change of traffic nor a change of rewards looks like a lift.

Within an hour both groups see the same users and the same time. The difference of an hour has the weight
n_a n_b / (n_a + n_b) (Mantel & Haenszel 1959), which is 0 where only one of the two was there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from pipelines.experiment.contrast import Contrast

__all__ = ["DAY_US", "HOUR_US", "Hourly", "add_up", "hourly_contrast", "of_days", "overlap"]

Float64s = npt.NDArray[np.float64]
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


@dataclasses.dataclass(frozen=True, eq=False)
class Hourly:
    """Sums of a group by hour.

    Args:
        start_us: Start of each hour, ascending, int64 [hours].
        sums: n, sum of r, sum of r^2, float64 [hours, 3].
    """

    start_us: npt.NDArray[np.int64]
    sums: Float64s

    def __len__(self) -> int:
        return len(self.start_us)

    @property
    def n(self) -> float:
        """Decisions of all hours."""
        return float(self.sums[:, 0].sum())


def add_up(rows: Iterable[Sequence[Sequence[float]]]) -> Hourly:
    """Add the hours of several rows. An hour is start_us, n, sum of r, sum of r^2."""
    table = np.array([tuple(hour) for row in rows for hour in row], np.float64).reshape(-1, 4)
    start_us, place = np.unique(table[:, 0].astype(np.int64), return_inverse=True)
    sums = np.zeros((len(start_us), 3))
    np.add.at(sums, place, table[:, 1:])
    return Hourly(start_us, sums)


def of_days(hourly: Hourly) -> dict[int, Hourly]:
    """Divide the hours by the day (UTC) that they belong to. The key is the day's start in microseconds."""
    day = hourly.start_us // DAY_US
    return {
        int(each) * DAY_US: Hourly(hourly.start_us[day == each], hourly.sums[day == each]) for each in np.unique(day)
    }


def overlap(group: Hourly, base: Hourly) -> tuple[Float64s, Float64s]:
    """Return the sums, float64 [hours, 3], of the hours in which both groups have decisions."""
    _, mine, theirs = np.intersect1d(group.start_us, base.start_us, return_indices=True)
    a, b = group.sums[mine], base.sums[theirs]
    both = (a[:, 0] > 0) & (b[:, 0] > 0)
    return a[both], b[both]


def hourly_contrast(group: Hourly, base: Hourly) -> Contrast | None:
    """Compare two groups by hour.

    A single hour may have one decision, so the variance of a reward is that of the group over all these hours. It
    includes the change between hours, so the interval is rather too wide.

    Returns:
        The contrast. None if no hour has two or more decisions of both in all.
    """
    a, b = overlap(group, base)
    if not len(a) or min(a[:, 0].sum(), b[:, 0].sum()) < 2:
        return None
    weight = a[:, 0] * b[:, 0] / (a[:, 0] + b[:, 0])
    weight /= weight.sum()
    mean, variance = _weighted(a, weight)
    base_mean, base_variance = _weighted(b, weight)
    return Contrast(mean, base_mean, variance, base_variance, 0.0, float(a[:, 0].sum() + b[:, 0].sum()))


def _weighted(sums: Float64s, weight: Float64s) -> tuple[float, float]:
    """Return the weighted mean of the hours' means, and its variance."""
    n, total, squares = sums.sum(axis=0)
    spread = max(0.0, (squares - total**2 / n) / (n - 1))
    return float(weight @ (sums[:, 1] / sums[:, 0])), float(spread * (weight**2 / sums[:, 0]).sum())
