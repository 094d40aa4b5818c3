"""By hour and by day: a change of traffic is no lift, and a lift that fades is seen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipelines.experiment.hours import DAY_US, HOUR_US, Hourly, add_up, hourly_contrast, of_days
from pipelines.experiment.trend import trend_of
from tests.experiment.worlds import MONDAY_US


def hourly(*hours: tuple[float, float], first_us: int = MONDAY_US) -> Hourly:
    """Hours of (n, rewarded)."""
    return add_up([[(first_us + at * HOUR_US, n, r, r) for at, (n, r) in enumerate(hours)]])


def test_an_arm_that_got_the_bad_hours_is_not_worse() -> None:
    """Simpson: pooled, B wins by .0667 to .0626. By hour with the weights 250 and 900, A wins by .0709 to .0609."""
    a, b = hourly((500, 55), (9_000, 540)), hourly((500, 50), (1_000, 50))
    assert sum(b.sums[:, 1]) / b.n > sum(a.sums[:, 1]) / a.n
    found = hourly_contrast(a, b)
    assert found is not None
    assert found.mean == pytest.approx((0.11 * 250 + 0.06 * 900) / 1_150)
    assert found.base == pytest.approx((0.10 * 250 + 0.05 * 900) / 1_150)
    assert found.difference == pytest.approx(0.01)


def test_the_variance_is_that_of_the_weighted_mean() -> None:
    """Weights 1/3 and 2/3. The rewards of a have the variance 40/150 x 110/150 x 150/149."""
    a, b = hourly((50, 10), (100, 30)), hourly((50, 5), (100, 20))
    found = hourly_contrast(a, b)
    assert found is not None
    spread = 40 / 150 * 110 / 150 * 150 / 149
    assert found.variance == pytest.approx(spread * ((1 / 3) ** 2 / 50 + (2 / 3) ** 2 / 100))
    assert (found.covariance, found.units) == (0.0, 300.0)


def test_only_hours_of_both_count() -> None:
    a, b = hourly((50, 10), (100, 30), (10, 0)), hourly((0, 0), (100, 20))
    found = hourly_contrast(a, b)
    assert found is not None and (found.mean, found.base, found.units) == (0.3, 0.2, 200.0)
    assert hourly_contrast(a, hourly((10, 1), first_us=MONDAY_US + DAY_US)) is None
    assert hourly_contrast(hourly((1, 1)), hourly((1, 1))) is None


def test_rows_add_up_by_hour_and_hours_belong_to_days() -> None:
    both = add_up([[(MONDAY_US, 1, 1, 1), (MONDAY_US + DAY_US, 2, 0, 0)], [(MONDAY_US, 3, 2, 4)]])
    assert both.sums.tolist() == [[4, 3, 5], [2, 0, 0]]
    assert {day: len(hours) for day, hours in of_days(both).items()} == {MONDAY_US: 1, MONDAY_US + DAY_US: 1}


def days_of(lifts: list[float], n: int = 20_000) -> tuple[Hourly, Hourly]:
    """A group and a base of rate .05, a day per lift, whose rewards are their expectations."""
    rows = [[(MONDAY_US + at * DAY_US, n, (0.05 + x) * n, (0.05 + x) * n) for at, x in enumerate(of)]
            for of in (lifts, [0.0] * len(lifts))]  # fmt: skip
    return add_up(rows[:1]), add_up(rows[1:])


def test_a_lift_that_fades_is_a_novelty_and_a_constant_one_is_not() -> None:
    """Falling by .004 a day from .024. From Monday to Friday the days spread by sqrt 10 around their mean."""
    workdays = trend_of(*days_of([0.024 - 0.004 * day for day in range(5)]))
    error = np.mean([day.error for day in workdays.days])
    assert workdays.slope_z == pytest.approx(-0.004 * math.sqrt(10) / error, rel=0.1)
    assert (workdays.weekend, workdays.weekend_z) == (None, None)
    trend = trend_of(*days_of([0.024 - 0.004 * day for day in range(7)]))
    assert trend.slope == pytest.approx(-0.004, rel=0.02) and trend.weekend == pytest.approx(0, abs=1e-4)
    assert trend.fades and not trend.weekends_differ
    constant = trend_of(*days_of([0.01] * 7))
    assert constant.slope == pytest.approx(0, abs=1e-12) and not constant.fades


def test_a_lift_that_grows_does_not_fade_and_one_that_turns_does() -> None:
    assert not trend_of(*days_of([0.002 * day + 0.001 for day in range(7)])).fades
    assert trend_of(*days_of([-0.02 + 0.005 * day for day in range(7)])).fades


def test_weekends_are_saturday_and_sunday() -> None:
    """Monday to Sunday: the lift is .01 on weekdays and -.01 on the weekend."""
    trend = trend_of(*days_of([0.01, 0.01, 0.01, 0.01, 0.01, -0.01, -0.01] * 2))
    assert [day.is_weekend for day in trend.days[:7]] == [False] * 5 + [True] * 2
    assert trend.weekend == pytest.approx(-0.02, rel=0.02) and trend.weekends_differ and not trend.fades


def test_too_few_days_have_no_trend() -> None:
    trend = trend_of(*days_of([0.01, 0.0, -0.01]))
    assert (trend.slope, trend.weekend, trend.fades, trend.weekends_differ) == (None, None, False, False)
