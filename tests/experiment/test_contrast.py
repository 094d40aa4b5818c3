"""Lifts: the arithmetic by hand, consistent intervals, and how often they are wrong under an adaptive policy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from pipelines.experiment.contrast import Contrast, Group, lift_of, multiplier, ratio_contrast, too_few

ALPHA = 0.05


def test_ratios_and_their_errors_are_those_of_the_plain_sums() -> None:
    """Decisions (w, r): of a (2, 1), (2, 0), (4, 1), so 6/8; of b (1, 0), (3, 1), so 3/4. Errors are w (r - mean)."""
    a, b = [(2, 1), (2, 0), (4, 1)], [(1, 0), (3, 1)]
    values = np.array([[w, w * r, 0, 0] for w, r in a] + [[0, 0, w, w * r] for w, r in b], float)
    found = ratio_contrast(values.sum(axis=0), values.T @ values, 5)
    assert (found.mean, found.base) == (0.75, 0.75)
    assert found.variance == pytest.approx(sum((w * (r - 0.75)) ** 2 for w, r in a) / 8**2)
    assert found.base_variance == pytest.approx(sum((w * (r - 0.75)) ** 2 for w, r in b) / 4**2)
    assert found.covariance == 0


def test_users_of_both_groups_make_the_errors_depend_on_each_other() -> None:
    """Two users, each with a decision of both groups and the same reward in both: the difference has no error."""
    values = np.array([[1, 1, 1, 1], [1, 0, 1, 0]], float)
    found = ratio_contrast(values.sum(axis=0), values.T @ values, 2)
    assert found.difference_variance == pytest.approx(0, abs=1e-12) and found.variance == 0.125


def test_the_interval_is_the_mixture_of_the_sequence() -> None:
    """Means .06 and .05 with errors .003 and .002 after 10,000 units: 3.04 standard errors of .0036."""
    lift = lift_of(Contrast(0.06, 0.05, 9e-6, 4e-6, 0.0, 10_000), ALPHA)
    assert multiplier(10_000, ALPHA) == pytest.approx(3.04, abs=0.01)
    assert (lift.difference, lift.relative) == (pytest.approx(0.01), pytest.approx(0.2))
    assert lift.high - lift.difference == pytest.approx(multiplier(10_000, ALPHA) * math.sqrt(13e-6))
    assert lift.difference - lift.low == pytest.approx(lift.high - lift.difference)


@given(st.floats(-1, 2), st.floats(0.01, 2), st.floats(1e-6, 0.1), st.floats(1e-6, 0.1), st.floats(-0.9, 0.9))
def test_the_relative_interval_leaves_out_0_exactly_if_the_other_does(
    mean: float, base: float, error: float, base_error: float, correlation: float
) -> None:
    covariance = correlation * error * base_error
    contrast = Contrast(mean, base, error**2, base_error**2, covariance, 1_000)
    lift = lift_of(contrast, ALPHA)
    if lift.relative_low is None or lift.relative_high is None or min(abs(lift.low), abs(lift.high)) < 1e-9:
        return
    assert (lift.relative_low > 0) == (lift.low > 0) and (lift.relative_high < 0) == (lift.high < 0)
    assert lift.relative is not None and lift.relative_low <= lift.relative <= lift.relative_high
    for t in (lift.relative_low + 1, lift.relative_high + 1):  # the ends are where the sequence just holds 0
        spread = contrast.variance - 2 * t * covariance + t * t * contrast.base_variance
        assert (mean - t * base) ** 2 == pytest.approx(multiplier(1_000, ALPHA) ** 2 * spread, rel=1e-6, abs=1e-9)


def test_a_base_that_may_be_0_has_no_relative_interval() -> None:
    lift = lift_of(Contrast(0.05, 0.001, 1e-6, 1e-6, 0.0, 1_000), ALPHA)
    assert (lift.relative_low, lift.relative_high) == (None, None)
    assert lift_of(Contrast(0.05, -0.2, 1e-6, 1e-6, 0.0, 1_000), ALPHA).relative is None


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        (Group("a", 99, 50, 50, 99, 50, 49), "a has 99 decisions, and 100 are needed"),
        (
            Group("a", 9_000, 500, 500, 80, 40, 40),
            "a has 9,000 decisions, which weigh as much as 80, and 100 are needed",
        ),
        (Group("a", 9_000, 19, 19, 9_000, 19, 8_981), "a has 19 decisions with a reward, and 20 are needed"),
        (
            Group("a", 900, 99, 99, 106, 6, 100),
            "a has 99 decisions with a reward, which weigh as much as 6, and 20 are needed",
        ),
        (
            Group("a", 9_000, 8_990, 8_990, 9_000, 8_990, 10),
            "a has 10 decisions without a reward, and 20 are needed",
        ),
        (Group("a", 100, 20, 20, 100, 20, 80), None),
        (Group("a", 100, 3, 9, 100, 3, 97), None),
    ],
)
def test_a_group_is_too_small_for_the_central_limit_theorem(group: Group, problem: str | None) -> None:
    assert too_few(group) == problem


@pytest.mark.parametrize("rate", [0.01, 0.3])
def test_two_equal_arms_are_called_different_in_at_most_alpha_of_runs(rate: float) -> None:
    """150 runs of 30 looks under Thompson sampling while rewards drift: 7.5 expected at most, 4 sigma more is 18.

    The plain means under the same policy are another question: see the Simpson case in test_hours.
    """
    rng, runs, size = np.random.default_rng(1), 150, 250
    sums = np.zeros((runs, 2, 4))  # n, r, and by arm the sums of w and w r
    squares = np.zeros((runs, 2, 2))  # of w, and of w r
    wrong = np.zeros(runs, np.bool_)
    for look in range(30):
        mean = (sums[..., 1] + 1) / (sums[..., 0] + 2)
        error = np.sqrt(mean * (1 - mean) / (sums[..., 0] + 2))
        share = 0.02 + 0.96 * norm.cdf((mean[:, 1] - mean[:, 0]) / np.hypot(error[:, 0], error[:, 1]))
        second = rng.binomial(size, share)
        n, p = np.stack([size - second, second], axis=1), np.stack([1 - share, share], axis=1)
        r = rng.binomial(n, rate * (1 + 0.5 * np.sin(2 * np.pi * look / 20)))
        sums += np.stack([n, r, n / p, r / p], axis=2)
        squares += np.stack([n / p**2, r / p**2], axis=2)
        for run in np.flatnonzero(~wrong).tolist():
            wrong[run] = _is_different(sums[run], squares[run])
    assert wrong.sum() <= ALPHA * runs + 4 * math.sqrt(ALPHA * (1 - ALPHA) * runs)


def _is_different(sums: np.ndarray, squares: np.ndarray) -> bool:
    w, wr, w2, w2r2 = *sums[:, 2:].T, *squares.T
    pairs = (w, w2), (wr, w2r2), (w - wr, w2 - w2r2)
    effective = np.stack([total**2 / np.maximum(each, 1e-9) for total, each in pairs], axis=1)
    if any(too_few(Group("arm", n, r, r, *each)) for (n, r, _, _), each in zip(sums.tolist(), effective, strict=True)):
        return False
    products = np.zeros((4, 4))
    for at, (w2, w2r2) in enumerate(squares.tolist()):
        products[2 * at : 2 * at + 2, 2 * at : 2 * at + 2] = [[w2, w2r2], [w2r2, w2r2]]
    lift = lift_of(ratio_contrast(sums[:, 2:].ravel(), products, sums[:, 0].sum()), ALPHA)
    return lift.low > 0 or lift.high < 0
