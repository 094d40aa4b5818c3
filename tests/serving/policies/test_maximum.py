"""The probability of being the largest, against closed forms and high-precision quadrature."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from serving_client.policies.beta import log_odds
from serving_client.policies.maximum import largest, largest_without
from serving_client.policies.normal import normal
from serving_client.policies.statistics import Float64s

REFERENCE = np.array([(1989, 21290), (40, 474), (64, 730), (71, 818), (52, 659), (59, 718)], dtype=float)


def best(posteriors: list[tuple[float, float]]) -> Float64s:
    a, b = np.array(posteriors, dtype=float).T
    return largest(log_odds(a, b))


def slow(posteriors: list[tuple[float, float]]) -> list[float]:
    """The definition with 30 digits: integral over t of f_i(t) times the product of the others' F_j(t).

    For a whole number a, F is a finite sum: F(t) = I_t(a, b) = 1 - sum_{i < a} t^i (1 - t)^b / ((b + i) B(1 + i, b)).
    """
    mpmath.mp.dps = 30
    terms = [[1 / ((b + i) * mpmath.beta(1 + i, b)) for i in range(int(a))] for a, b in posteriors]

    def below(arm: int, t: mpmath.mpf) -> mpmath.mpf:
        return 1 - (1 - t) ** posteriors[arm][1] * mpmath.polyval(terms[arm][::-1], t)

    def won(arm: int, t: mpmath.mpf) -> mpmath.mpf:
        a, b = posteriors[arm]
        density = t ** (a - 1) * (1 - t) ** (b - 1) / mpmath.beta(a, b)
        return density * mpmath.fprod(below(other, t) for other in range(len(posteriors)) if other != arm)

    points = [0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1]
    return [float(mpmath.quad(lambda t, arm=arm: won(arm, t), points)) for arm in range(len(posteriors))]


def test_the_published_vector_of_six_arms() -> None:
    p = largest(log_odds(*REFERENCE.T))
    assert np.round(p, 4).tolist() == [0.2963, 0.1760, 0.2034, 0.1690, 0.0614, 0.0939]


@pytest.mark.parametrize(
    "posteriors", [[(1, 1), (3, 20), (4, 30)], [(2, 3), (1, 9), (8, 40), (1, 1)], [(30, 300), (25, 330), (2, 15)]]
)
def test_a_few_arms_equal_quadrature_with_thirty_digits(posteriors: list[tuple[float, float]]) -> None:
    assert best(posteriors) == pytest.approx(slow(posteriors), abs=1e-9)


def test_the_published_vector_equals_adaptive_quadrature_over_the_probability() -> None:
    a, b = REFERENCE.T

    def won(t: float, arm: int) -> float:
        others = np.delete(special.betainc(a, b, t), arm)
        return float(stats.beta.pdf(t, a[arm], b[arm]) * others.prod())

    expected = [
        integrate.quad(won, 0.05, 0.2, (arm,), points=[0.08, 0.085, 0.09, 0.1], epsabs=1e-12, epsrel=1e-12)[0]
        for arm in range(6)
    ]
    assert largest(log_odds(a, b)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("a", "b"), [(1e6, 1e8), (1e6, 1e6), (5, 2e9), (1e9, 3), (0.5, 0.5), (0.01, 2.0)])
def test_a_uniform_arm_beside_any_other_wins_with_one_less_the_others_mean(a: float, b: float) -> None:
    """P(U > T) = E[1 - T] = b / (a + b)."""
    assert best([(1, 1), (a, b)]) == pytest.approx([b / (a + b), a / (a + b)], abs=1e-9)


@pytest.mark.parametrize(("one", "two"), [(0.5, 0.25), (0.001, 0.002), (1e-4, 3e-4)])
def test_arms_whose_probability_underflows_are_resolved_by_their_log_odds(one: float, two: float) -> None:
    """T of Beta(c, 1) is at most t with t^c: P(T1 > T2) = integral of c1 t^(c1 - 1) t^c2 = c1 / (c1 + c2).

    At c = 0.001 half of it is below 1e-300. Beta(1, c) mirrors it.
    """
    share = one / (one + two)
    assert best([(one, 1), (two, 1)]) == pytest.approx([share, 1 - share], abs=1e-9)
    assert best([(1, one), (1, two)]) == pytest.approx([1 - share, share], abs=1e-9)


def test_two_large_arms_equal_the_finite_sum() -> None:
    """P(T2 > T1) = sum_{i < a2} B(a1 + i, b1 + b2) / ((b2 + i) B(1 + i, b2) B(a1, b1)), for a whole number a2."""
    (a1, b1), (a2, b2) = (5_000.0, 95_000.0), (5_100.0, 94_900.0)
    i = np.arange(a2)
    log_terms = special.betaln(a1 + i, b1 + b2) - np.log(b2 + i) - special.betaln(1 + i, b2) - special.betaln(a1, b1)
    assert best([(a1, b1), (a2, b2)])[1] == pytest.approx(np.exp(log_terms).sum(), abs=1e-8)  # its own rounding


@pytest.mark.parametrize("k", [2, 10, 1_000])
@pytest.mark.parametrize("posterior", [(1.0, 1.0), (300.0, 4_000.0), (0.2, 0.1)])
def test_equal_arms_share_evenly(k: int, posterior: tuple[float, float]) -> None:
    assert best([posterior] * k) == pytest.approx(np.full(k, 1 / k), abs=1e-12)


def test_one_new_arm_beside_a_thousand_known_ones() -> None:
    """All known arms end near 0.1, so the new arm wins with P(U > 0.1) = 0.9, less what their largest is above 0.1."""
    known = [(1e5 + 10.0 * arm, 9e5) for arm in range(1_000)]
    p = best([(1, 1), *known])
    highest = stats.beta(*known[-1])
    assert p[0] == pytest.approx(1 - highest.mean(), abs=2e-3)
    assert p.sum() == pytest.approx(1, abs=1e-12)


def test_arms_that_cannot_win_have_zero() -> None:
    assert best([(1e4, 1e4), (10, 1e5)]).tolist() == [1.0, 0.0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.floats(-3, 9).map(lambda power: 10.0**power)] * 2),
        min_size=1,
        max_size=6,
    )
)
def test_every_posterior_gives_a_vector_that_does_not_depend_on_the_order(
    posteriors: list[tuple[float, float]],
) -> None:
    p = best(posteriors)
    assert np.isfinite(p).all()
    assert (p >= 0).all()
    assert p.sum() == pytest.approx(1, abs=1e-12)
    assert best(posteriors[::-1])[::-1] == pytest.approx(p, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.floats(-3, 3), st.floats(0.001, 1_000), st.floats(0.001, 1_000))
def test_two_normal_variables_equal_the_normal_distribution_of_their_difference(
    difference: float, one: float, two: float
) -> None:
    expected = special.ndtr(difference / np.hypot(one, two))
    assert largest(normal(np.array([difference, 0.0]), np.array([one, two])))[0] == pytest.approx(expected, abs=1e-9)


def test_three_normal_variables_equal_drawn_frequencies() -> None:
    mean, scale = np.array([0.0, 0.3, -1.0]), np.array([1.0, 0.1, 2.0])
    rng = np.random.default_rng(1)
    shares = np.bincount(rng.normal(mean, scale, size=(400_000, 3)).argmax(1), minlength=3) / 400_000
    assert largest(normal(mean, scale)) == pytest.approx(shares, abs=4 * 0.0008)


def test_without_one_arm_the_others_get_what_they_get_alone() -> None:
    a, b = REFERENCE.T
    followers = largest_without(log_odds(a, b))
    for arm in range(len(a)):
        rest = np.delete(np.arange(len(a)), arm)
        assert followers[arm, rest] == pytest.approx(largest(log_odds(a[rest], b[rest])), abs=1e-9)
        assert followers[arm, arm] == 0


def test_without_a_sure_winner_the_others_are_resolved_too() -> None:
    a, b = np.array([9e5, 1.0, 30.0]), np.array([1e5, 9.0, 300.0])
    assert largest_without(log_odds(a, b))[0, 1:] == pytest.approx(largest(log_odds(a[1:], b[1:])), abs=1e-9)
