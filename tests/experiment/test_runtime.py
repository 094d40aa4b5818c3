"""The runtime: a lift is found when the interval is short enough, and never within a week."""

from __future__ import annotations

import pytest

from pipelines.experiment.contrast import Contrast, multiplier
from pipelines.experiment.runtime import runtime_of

ALPHA = 0.05
SOFAR = Contrast(0.051, 0.05, 1e-6, 1e-6, 0.0, 50_000)
"""A standard error of .001414 after 50,000 decisions."""


def test_the_decisions_needed_are_those_of_the_plain_equation() -> None:
    """After g times the decisions the target is (k(g) + .8416) x .001414 / sqrt g, and just not before."""
    found = runtime_of(SOFAR, 0.004, 50_000, 48, ALPHA)
    assert found.decisions is not None
    growth = found.decisions / 50_000
    assert 1 < growth < 3
    assert (multiplier(50_000 * growth, ALPHA) + 0.8416) * 0.002**0.5 / 1000**0.5 / growth**0.5 == pytest.approx(
        0.004, rel=1e-4
    )


@pytest.mark.parametrize(
    ("target", "hours", "weeks", "days_left"),
    [
        (0.02, 48.0, 1, 5.0),  # found already, but weekdays differ
        (0.02, 168.0, 1, 0.0),
        (0.02, 400.0, 2, 0.0),  # the end of the second week was enough
        (-0.004, 48.0, 1, 5.0),  # found within the first week
        (0.002, 168.0, 10, 63.0),  # k is 3.5 by then, and (3.5 + .84)^2 x 2e-6 / .002^2 is 9.4
    ],
)
def test_a_run_takes_full_weeks(target: float, hours: float, weeks: int, days_left: float) -> None:
    found = runtime_of(SOFAR, target, 50_000, hours, ALPHA)
    assert (found.weeks, found.days_left) == (weeks, days_left)


def test_no_lift_and_a_tiny_one_are_never_settled() -> None:
    nothing, tiny = (runtime_of(SOFAR, target, 50_000, 168, ALPHA) for target in (0.0, 1e-6))
    assert (nothing.target, nothing.weeks, tiny.target, tiny.weeks) == (None, None, 1e-6, None)
