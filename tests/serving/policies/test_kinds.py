"""Each kind of policy: its formula by hand arithmetic, and draws that agree with the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving_client.contracts.policies import policy_of
from serving_client.policies.statistics import ArmStatistics, Float64s
from serving_client.policies.weights import draw, prepare, weights
from tests.serving.policies.arms import arms, linear_arms

POLICIES: list[dict[str, Any]] = [
    {"kind": "fixed", "weights": {"a": 0.5, "b": 0.3, "c": 0.2}},
    {"kind": "epsilon_greedy", "epsilon": 0.3},
    {"kind": "softmax", "temperature": 0.1},
    {"kind": "ucb1"},
    {"kind": "ucb_tuned"},
    {"kind": "thompson_beta"},
    {"kind": "thompson_gaussian"},
    {"kind": "thompson_gaussian", "noise": 0.5},
    {"kind": "top_two", "beta": 0.6},
    {"kind": "linucb"},
    {"kind": "lints"},
]
MEANS = [policy for policy in POLICIES if policy["kind"] not in {"linucb", "lints"}]


def named(policy: Mapping[str, Any]) -> str:
    return "-".join(str(value) for value in policy.values())


def given_by(policy: Mapping[str, Any], statistics: ArmStatistics, x: Float64s | None = None) -> list[float]:
    p: list[float] = weights(policy_of(policy), statistics, x).tolist()
    return p


def test_fixed_gives_the_listed_shares_of_the_arms_that_are_left() -> None:
    policy = {"kind": "fixed", "weights": {"a": 0.5, "b": 0.3, "c": 0.2}}
    assert given_by(policy, arms([0, 0], [0, 0], arm_ids=("a", "c"))) == pytest.approx([5 / 7, 2 / 7])
    assert given_by(policy, arms([0, 0], [0, 0], arm_ids=("d", "e"))) == [0.5, 0.5]
    assert given_by(policy, arms([0, 0], [0, 0], arm_ids=("d", "b"))) == [0, 1]


def test_epsilon_greedy_gives_the_best_mean_the_rest() -> None:
    policy = {"kind": "epsilon_greedy", "epsilon": 0.3}
    assert given_by(policy, arms([10, 20, 5], [1, 8, 1])) == pytest.approx([0.1, 0.8, 0.1])
    assert given_by(policy, arms([10, 20, 5], [4, 8, 1])) == pytest.approx([0.45, 0.45, 0.1])


def test_a_prior_counts_as_decisions_with_its_mean() -> None:
    """(5 x 0.9 + 1) / (5 + 5) = 0.55 is more than 5 / 10."""
    prior = [(0.9, 5.0), (0.0, 0.0)]
    assert given_by({"kind": "epsilon_greedy", "epsilon": 0.0}, arms([5, 10], [1, 5], prior=prior)) == [1, 0]


def test_softmax_divides_exponentials() -> None:
    """Means 0.1 and 0.3, temperature 0.1: the ratio is e^2."""
    p = given_by({"kind": "softmax", "temperature": 0.1}, arms([10, 10], [1, 3]))
    assert p == pytest.approx([1 / (1 + math.e**2), math.e**2 / (1 + math.e**2)])
    assert given_by({"kind": "softmax", "temperature": 1e-9}, arms([10, 10], [1, 3])) == [0, 1]


def test_ucb1_adds_hoeffdings_bonus() -> None:
    """N = 100: 0.5 + 0.320 < 0.2 + 0.960 with sqrt(2 ln 100 / n), and 0.5 + 0.3 x 0.320 > 0.2 + 0.3 x 0.960."""
    statistics = arms([90, 10], [45, 2])
    assert given_by({"kind": "ucb1"}, statistics) == [0, 1]
    assert given_by({"kind": "ucb1", "exploration": 0.3}, statistics) == [1, 0]


def test_ucb_tuned_uses_the_variance_of_an_arms_rewards() -> None:
    """N = 2000, ln N / n = 0.0076 each. The first arm's variance is 0: min(1/4, sqrt(0.0152)) = 0.123, and its score
    0.5 + sqrt(0.0076 x 0.123) = 0.531. The second's is above 1/4: 0.49 + sqrt(0.0076 / 4) = 0.534.
    """
    statistics = arms([1000, 1000], [500, 490], sum_r2=[250, 490])
    assert given_by({"kind": "ucb_tuned"}, statistics) == [0, 1]
    assert given_by({"kind": "ucb1"}, statistics) == [1, 0]


@pytest.mark.parametrize("kind", ["ucb1", "ucb_tuned"])
def test_a_burst_of_pending_decisions_does_not_go_to_one_arm(kind: str) -> None:
    """Arms without any decision come first and share. 50 pending decisions shrink the bonus."""
    assert given_by({"kind": kind}, arms([0, 0, 9], [0, 0, 9])) == [0.5, 0.5, 0]
    assert given_by({"kind": kind}, arms([0, 0, 9], [0, 0, 9], pending=[1, 0, 0])) == [0, 1, 0]
    assert given_by({"kind": kind}, arms([10, 10], [5, 4], pending=[50, 0])) == [0, 1]


def test_thompson_beta_follows_the_posterior() -> None:
    """Beta(2, 1) against Beta(1, 1): P = E[T] = 2/3. Sums outside [0, n] count as 0 or n."""
    assert given_by({"kind": "thompson_beta"}, arms([1, 0], [1, 0], prior=(1, 1))) == pytest.approx([2 / 3, 1 / 3])
    assert given_by({"kind": "thompson_beta"}, arms([1, 0], [3, 0], prior=(1, 1))) == pytest.approx([2 / 3, 1 / 3])


def test_thompson_gaussian_follows_the_normal_posterior() -> None:
    """Means (1 x 0 + 6) / (1 + 3) = 1.5 and 0, deviations 2 / sqrt(4) = 1 and 2 / sqrt(1) = 2: Phi(1.5 / sqrt 5)."""
    statistics = arms([3, 0], [6, 0], sum_r2=[14, 0], prior=(0, 1))
    expected = (1 + math.erf(1.5 / math.sqrt(5) / math.sqrt(2))) / 2
    assert given_by({"kind": "thompson_gaussian", "noise": 2.0}, statistics)[0] == pytest.approx(expected, abs=1e-9)


def test_thompson_gaussian_takes_the_noise_from_the_rows() -> None:
    """Rewards 1, 2, 3: squares about the mean 2, freedom 2, mean square 14/3: the variance is (14/3 + 2) / 3 = 20/9."""
    statistics = arms([3, 0], [6, 0], sum_r2=[14, 0], prior=(0, 1))
    noise = {"kind": "thompson_gaussian", "noise": math.sqrt(20 / 9)}
    assert given_by({"kind": "thompson_gaussian"}, statistics) == pytest.approx(given_by(noise, statistics), abs=1e-12)


def test_equal_rewards_do_not_make_thompson_gaussian_certain() -> None:
    p = given_by({"kind": "thompson_gaussian"}, arms([2, 0], [2, 0], prior=(0, 1)))
    assert 0.5 < p[0] < 0.9


def test_top_two_gives_the_leader_its_share_and_the_rest_to_other_arms() -> None:
    """a = (2/3, 1/3). Each arm is followed by the other: p_1 = 0.6 x 2/3 + 0.4 x 1/3."""
    statistics = arms([1, 0], [1, 0], prior=(1, 1))
    assert given_by({"kind": "top_two", "beta": 0.6}, statistics) == pytest.approx([1.6 / 3, 1.4 / 3], abs=1e-9)
    assert given_by({"kind": "top_two"}, arms([5], [1], prior=(1, 1))) == [1]


def test_top_two_equals_russos_formula_where_no_arm_is_almost_sure() -> None:
    """p_i = a_i (beta + (1 - beta) sum_{j != i} a_j / (1 - a_j)), with all a_j^30 below 1e-9."""
    statistics = arms([100, 100, 100, 100], [10, 11, 9, 10], prior=(1, 1))
    a = weights({"kind": "thompson_beta"}, statistics)
    ratio = a / (1 - a)
    expected = a * (0.7 + 0.3 * (ratio.sum() - ratio))
    assert given_by({"kind": "top_two", "beta": 0.7}, statistics) == pytest.approx(expected.tolist(), abs=1e-9)


def test_top_two_shares_between_the_others_when_one_arm_is_sure_to_be_best() -> None:
    p = given_by({"kind": "top_two"}, arms([1e6, 100, 100], [9e5, 10, 10], prior=(1, 1)))
    assert p == pytest.approx([0.5, 0.25, 0.25], abs=1e-9)


def test_linucb_adds_alpha_times_the_deviation() -> None:
    """One feature, x = 2, lambda 1. Arm 1: A = 1 + 3, theta = 2/4: 1 + sqrt(4/4) = 2. Arm 2: A = 1: 0 + sqrt(4) = 2."""
    one, two = np.array([[[3.0]], [[0.0]]]), np.array([[2.0], [0.0]])
    zero = np.zeros(2)
    statistics = ArmStatistics(np.array([3.0, 0.0]), zero, zero, zero, np.zeros((2, 2)), one, two)
    x = np.array([[2.0], [2.0]])
    assert given_by({"kind": "linucb"}, statistics, x) == [0.5, 0.5]
    assert given_by({"kind": "linucb", "exploration": 2.0}, statistics, x) == [0, 1]
    burst = ArmStatistics(statistics.n, zero, zero, np.array([0.0, 9.0]), statistics.prior, one, two)
    assert given_by({"kind": "linucb", "exploration": 2.0}, burst, x) == [1, 0]


def test_lints_compares_normal_scores() -> None:
    """As above with noise 0.5: means 1 and 0, deviations 0.5 and 1: Phi(1 / sqrt 1.25)."""
    zero = np.zeros(2)
    xtx, xtr = np.array([[[3.0]], [[0.0]]]), np.array([[2.0], [0.0]])
    statistics = ArmStatistics(np.array([3.0, 0.0]), zero, zero, zero, np.zeros((2, 2)), xtx, xtr)
    p = given_by({"kind": "lints", "noise": 0.5}, statistics, np.array([[2.0], [2.0]]))
    assert p[0] == pytest.approx((1 + math.erf(1 / math.sqrt(1.25) / math.sqrt(2))) / 2, abs=1e-6)
    assert given_by({"kind": "lints"}, statistics, np.zeros((2, 1))) == pytest.approx([0.5, 0.5])


def test_a_linear_kind_without_features_says_so() -> None:
    with pytest.raises(ValueError, match="lints needs the features of every arm; pass x"):
        weights(policy_of({"kind": "lints"}), linear_arms(np.random.default_rng(1), 2, 3))
    with pytest.raises(ValueError, match="needs statistics with xtx and xtr"):
        weights(policy_of({"kind": "lints"}), arms([1], [1]), np.zeros((1, 3)))


@pytest.mark.parametrize("policy", POLICIES, ids=named)
def test_draws_have_the_frequencies_that_the_weights_promise(policy: Mapping[str, Any]) -> None:
    """Within five standard errors of 50,000 draws: sqrt(p (1 - p) / 50,000) <= 0.0022."""
    rng, repetitions = np.random.default_rng(7), 50_000
    if policy["kind"] in {"linucb", "lints"}:
        statistics, x = linear_arms(rng, 3, 4), rng.normal(size=(3, 4))
    else:
        prior = (1.0, 1.0) if policy["kind"] in {"thompson_beta", "top_two"} else (0.0, 1.0)
        statistics, x = arms([60, 40, 30], [30, 19, 16], prior=prior, arm_ids=("a", "b", "c")), None
    p = weights(policy_of(policy), statistics, x)
    wide = ArmStatistics(
        *(np.broadcast_to(part, (repetitions, 3)) for part in (statistics.n, statistics.sum_r, statistics.sum_r2)),
        np.broadcast_to(statistics.pending, (repetitions, 3)),
        np.broadcast_to(statistics.prior, (repetitions, 3, 2)),
        statistics.xtx,
        statistics.xtr,
        statistics.arm_ids,
    )
    if x is None:
        if policy["kind"] in {"thompson_beta", "top_two", "thompson_gaussian"}:
            drawn = draw(policy_of(policy), wide, rng)
        else:  # one row's weights, drawn often
            drawn = np.array([draw(policy_of(policy), statistics, rng) for _ in range(2_000)])
    else:
        drawn = draw(policy_of(policy), statistics, rng, np.broadcast_to(x, (repetitions, *x.shape)))
    shares = np.bincount(drawn, minlength=3) / drawn.size
    assert np.abs(shares - p).max() <= 5 * math.sqrt(0.25 / drawn.size)
    assert ((shares > 0) <= (p > 0)).all()


def test_a_sure_leader_is_drawn_as_top_two_promises() -> None:
    """The leader's a is 0.97, so that the 31st draw decides in two of five cases."""
    statistics = arms([40, 12, 4], [37, 8, 2], prior=(1, 1))
    policy = policy_of({"kind": "top_two", "beta": 0.5})
    a = weights({"kind": "thompson_beta"}, statistics)
    assert 0.9 < a[0] < 0.99
    wide = arms(*np.broadcast_to(np.array([[40.0, 12, 4], [37, 8, 2]])[:, None], (2, 30_000, 3)), prior=(1, 1))
    shares = np.bincount(draw(policy, wide, np.random.default_rng(3)), minlength=3) / 30_000
    assert shares == pytest.approx(weights(policy, statistics), abs=5 * 0.0029)


@pytest.mark.parametrize("policy", POLICIES, ids=named)
def test_leading_dimensions_are_repetitions(policy: Mapping[str, Any]) -> None:
    rng = np.random.default_rng(2)
    filled = policy_of(policy)
    if policy["kind"] in {"linucb", "lints"}:
        one, two = (linear_arms(rng, 3, 4) for _ in range(2))
        parts = zip(
            *((each.n, each.sum_r, each.sum_r2, each.pending, each.prior, each.xtx, each.xtr) for each in (one, two)),
            strict=True,
        )
        stacked, x = ArmStatistics(*(np.stack(pair) for pair in parts)), rng.normal(size=(2, 3, 4))
        both = weights(filled, stacked, x)
        assert both.tolist() == [weights(filled, one, x[0]).tolist(), weights(filled, two, x[1]).tolist()]
        assert draw(filled, stacked, rng, x).shape == (2,)
        return
    n, r = np.array([[[60.0, 40, 30]], [[5, 6, 7]]]), np.array([[[30.0, 19, 16]], [[1, 1, 2]]])
    stacked = arms(n, r, prior=(1, 1), arm_ids=("a", "b", "c"))
    single = [[given_by(policy, arms(n[at, 0], r[at, 0], prior=(1, 1), arm_ids=("a", "b", "c")))] for at in range(2)]
    assert weights(filled, stacked).tolist() == single
    assert draw(filled, stacked, rng).shape == (2, 1)


@pytest.mark.parametrize("policy", POLICIES, ids=named)
def test_a_subset_of_prepared_arms_equals_the_policy_for_those_arms(policy: Mapping[str, Any]) -> None:
    rng, filled = np.random.default_rng(4), policy_of(policy)
    if policy["kind"] in {"linucb", "lints"}:
        statistics, x = linear_arms(rng, 4, 3), rng.normal(size=(4, 3))
        subset = prepare(filled, statistics).take([0, 2]).weights(x[[0, 2]])
        assert subset == pytest.approx(weights(filled, statistics.take([0, 2]), x[[0, 2]]))
    else:
        statistics = arms([60, 40, 30], [30, 19, 16], prior=(1, 1), arm_ids=("a", "b", "c"))
        subset = prepare(filled, statistics).take([0, 2]).weights()
        alone = arms([60, 30], [30, 16], prior=(1, 1), arm_ids=("a", "c"))
        assert subset.tolist() == weights(filled, alone).tolist()


@pytest.mark.parametrize("policy", MEANS, ids=named)
@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 10**9), st.floats(0, 1), st.integers(0, 1_000)),
        min_size=1,
        max_size=5,
    )
)
def test_weights_of_any_statistics_are_probabilities(
    policy: Mapping[str, Any], rows: list[tuple[int, float, int]]
) -> None:
    n, share, pending = np.array(rows, dtype=float).T
    ids = tuple("abcde"[: len(rows)])
    p = weights(policy_of(policy), arms(n, n * share, n * share**2, pending, prior=(1, 1), arm_ids=ids))
    assert (p >= 0).all()
    assert p.sum() == pytest.approx(1, abs=1e-12)
    order = np.argsort(-n, kind="stable")
    turned = arms(*(part[order] for part in (n, n * share, n * share**2, pending)), prior=(1, 1), arm_ids=ids)
    if policy["kind"] != "fixed":
        assert weights(policy_of(policy), turned) == pytest.approx(p[order], abs=1e-9)
