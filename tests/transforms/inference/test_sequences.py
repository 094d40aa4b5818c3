"""Bounds that hold at every look: against the plain formula, by simulation, and where all of them are exact."""

from __future__ import annotations

import math

import numpy as np
import pytest

from transforms.inference.sequences import Sample, is_outside, lower, radius, upper

ALPHA = 0.05


@pytest.mark.parametrize("sample", [Sample("binary", 400, 30), Sample("count", 400, 30), Sample("real", 400, 30, 500)])
def test_a_limit_is_outside_exactly_beyond_the_bounds(sample: Sample) -> None:
    low, high = lower(sample, ALPHA), upper(sample, ALPHA)
    assert low < sample.mean < high
    for bound, upwards, outwards in ((low, True, -1e-6), (high, False, 1e-6)):
        assert is_outside(sample, bound + outwards, ALPHA, upwards=upwards)
        assert not is_outside(sample, bound - outwards, ALPHA, upwards=upwards)


def test_the_bounds_of_0s_and_1s_are_mirrored_and_end_at_0_and_1() -> None:
    assert lower(Sample("binary", 50, 0), ALPHA) == 0 and upper(Sample("binary", 50, 50), ALPHA) == 1
    assert lower(Sample("binary", 50, 20), ALPHA) == pytest.approx(1 - upper(Sample("binary", 50, 30), ALPHA))


def test_the_evidence_is_the_mean_of_the_likelihood_ratios() -> None:
    """At the lower bound m the mean over 20 alternatives of (p/m)^7 ((1-p)/(1-m))^13 is 1/alpha."""
    m = lower(Sample("binary", 20, 7), ALPHA)
    alternatives = [m + (1 - m) / 2**step for step in range(1, 21)]
    ratios = [(p / m) ** 7 * ((1 - p) / (1 - m)) ** 13 for p in alternatives]
    assert math.fsum(ratios) / 20 == pytest.approx(1 / ALPHA)


def test_the_radius_shrinks_like_the_law_of_the_iterated_logarithm() -> None:
    """Deviation 2, n = 10,000, alpha 0.025: rho2 = (-2 ln 0.05 + ln(1 - 2 ln 0.05)) / 1e4 = 7.94e-4, so 0.0608."""
    rho2 = (-2 * math.log(0.05) + math.log(1 - 2 * math.log(0.05))) / 10_000
    spread = 10_000 * rho2 + 1
    by_hand = 2 * math.sqrt(2 * spread / (1e8 * rho2) * math.log(1 + math.sqrt(spread) / 0.05))
    assert radius(2.0, 10_000, 0.025) == pytest.approx(by_hand) == pytest.approx(0.0608, abs=1e-4)
    assert radius(2.0, 10**8, 0.025) < radius(2.0, 10_000, 0.025) / 60


@pytest.mark.parametrize("kind", ["binary", "real"])
def test_the_true_mean_is_ever_excluded_in_at_most_alpha_of_runs(kind: str) -> None:
    """300 runs of 0.2, looked at 30 times from 200 to 6,000: 5% on each side would be 30, 4 sigma more is 45."""
    rng = np.random.default_rng(3)
    totals = np.cumsum(rng.binomial(200, 0.2, (300, 30)), axis=1)
    wrong = 0
    for run in totals.tolist():
        samples = [Sample(kind, 200 * look, k, k) for look, k in enumerate(run, 1)]
        wrong += any(is_outside(each, 0.2, ALPHA, upwards=up) for each in samples for up in (True, False))
    assert wrong <= 45
