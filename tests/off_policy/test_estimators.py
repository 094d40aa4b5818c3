"""The estimators against their formulas, and their intervals against arithmetic and simulation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.off_policy.bootstrap import replicate_sums
from pipelines.off_policy.estimators import Estimates, estimate
from pipelines.off_policy.intervals import bernstein, bernstein_of_ratio
from pipelines.off_policy.sums import Sums, sums_of
from pipelines.off_policy.weighing import Weighed
from pipelines.off_policy.weight_bins import BINS, bin_of, edge

Float64s = npt.NDArray[np.float64]


def weighed(
    w: Float64s,
    r: Float64s,
    b: Float64s,
    q: Float64s,
    unit: npt.NDArray[np.uint64] | None = None,
    mass: Float64s | None = None,
) -> Weighed:
    n = len(w)
    units = np.random.default_rng(7).integers(0, 2**64, n, np.uint64) if unit is None else unit
    hours = np.arange(n, dtype=np.int64) * 600_000_000
    none, zeros = np.zeros(1), np.zeros(n)
    by_bin = np.bincount(bin_of(w), w, BINS) if mass is None else mass
    return Weighed(units, hours, r, w, b, q, zeros, w, np.zeros(n, np.int64), ["a"], none, none, by_bin)


def some(n: int, seed: int) -> tuple[Float64s, Float64s, Float64s, Float64s]:
    """w, r, b, q of decisions, among them weights of 0."""
    rng = np.random.default_rng(seed)
    w = np.where(rng.random(n) < 0.2, 0.0, rng.lognormal(0, 1.2, n))
    return w, (rng.random(n) < 0.3).astype(float), rng.random(n) / 2, rng.random(n) / 2


def by_name(found: Estimates) -> dict[str, float]:
    return {each.name: each.value for each in found.estimates}


@pytest.mark.parametrize("seed", range(4))
def test_estimates_are_the_formulas(seed: int) -> None:
    w, r, b, q = some(500, seed)
    found = estimate(sums_of(weighed(w, r, b, q), 1, 20), (0.0, 1.0), independent=True)
    values = by_name(found)
    assert values["ips"] == pytest.approx(np.mean(w * r), rel=1e-12)
    assert values["snips"] == pytest.approx(np.sum(w * r) / np.sum(w), rel=1e-12)
    assert values["dr"] == pytest.approx(np.mean(b + w * (r - q)), rel=1e-12)
    assert values["switch_dr"] == pytest.approx(np.mean(b + w * (r - q) * (w <= found.tau)), rel=1e-12)
    assert found.ess == pytest.approx(np.sum(w) ** 2 / np.sum(w * w), rel=1e-12)
    assert found.logged.value == pytest.approx(r.mean(), rel=1e-12)
    assert found.mean_weight == pytest.approx(w.mean(), rel=1e-12)
    for name, value in values.items():
        assert found.differences[name].value == pytest.approx(value - r.mean(), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_tau_has_the_least_variance_plus_squared_bias_bound(seed: int) -> None:
    w, r, b, q = some(300, seed)
    w[:3] = [150.0, 260.0, 90.0]

    def risk(tau: float) -> float:
        values = b + w * (r - q) * (w <= tau)
        return float(values.var() / len(w) + (np.sum(w[w > tau]) / len(w)) ** 2)

    found = estimate(sums_of(weighed(w, r, b, q), 1, 20), (0.0, 1.0), independent=True)
    best = min((2.0**power for power in range(10)), key=risk)
    assert found.tau == (best if (w > best).any() else math.inf)


def test_tau_leaves_out_a_weight_that_costs_more_variance_than_its_bias() -> None:
    """1,000 decisions, of which one has the weight 100 by luck: the target's mass on such arms is 0.01 and not 0.1.

    The weight adds 0.01 to the variance of the mean. Leaving it out adds at most 0.0001 to the squared bias.
    """
    w, r = np.ones(1_000), np.tile([0.0, 1.0], 500)
    w[1] = 100.0
    mass = np.zeros(BINS)
    mass[bin_of(np.array([1.0, 100.0]))] = 990.0, 10.0
    half = np.full(1_000, 0.5)
    found = estimate(sums_of(weighed(w, r, half, half, mass=mass), 1, 20), (0.0, 1.0), independent=True)
    assert found.tau == 1.0
    assert by_name(found)["switch_dr"] == pytest.approx(0.5 - 0.0005)
    assert by_name(found)["dr"] == pytest.approx(0.5 + 99 * 0.0005)


def test_the_edges_of_bins_are_powers_of_two() -> None:
    assert bin_of(np.array([0.0, 1.0, 1.1, 2.0, 60.0, 1e9])).tolist() == [0, 11, 12, 12, 17, BINS - 1]
    assert [edge(number) for number in (0, 11, 12, BINS - 1)] == [0.0, 1.0, 2.0, math.inf]


def test_sums_of_parts_add_up_to_those_of_the_whole_and_survive_json() -> None:
    w, r, b, q = some(400, 3)
    whole = weighed(w, r, b, q)
    parts = [weighed(*(column[at] for column in (w, r, b, q)), whole.unit[at]) for at in (slice(150), slice(150, 400))]
    added = Sums.from_json(sums_of(parts[0], 5, 30).plus(sums_of(parts[1], 5, 30)).to_json())
    direct = sums_of(whole, 5, 30)
    np.testing.assert_allclose(added.moments, direct.moments, rtol=1e-12)
    np.testing.assert_allclose(added.bins, direct.bins, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(added.replicates, direct.replicates, rtol=1e-12, atol=1e-12)
    assert added.most_weight == direct.most_weight == w.max()


def counts_of(unit: npt.NDArray[np.uint64], seed: int, replicates: int) -> npt.NDArray[np.int64]:
    """How often each replicate counts each unit [replicates, n]: the columns are the unit's indicator."""
    n = len(unit)
    sums = replicate_sums(unit, np.eye(n), np.zeros(n, np.int64), np.zeros(n), 1, seed, replicates)
    return sums[:, 1 : 1 + n].astype(np.int64)


def test_replicates_count_a_unit_a_poisson_number_of_times() -> None:
    unit = np.random.default_rng(1).integers(0, 2**64, 200, np.uint64)
    counts = counts_of(unit, 1, 500)
    for k in range(5):
        share = math.exp(-1) / math.factorial(k)
        assert np.mean(counts == k) == pytest.approx(share, abs=4 * math.sqrt(share / counts.size))
    assert abs(np.corrcoef(counts[:, 0], counts[:, 1])[0, 1]) < 0.15
    assert (counts_of(unit, 2, 500) != counts).any()


def test_all_decisions_of_a_user_count_alike() -> None:
    """Ten copies of each decision: by user the standard error is that of the tenth part, by decision a third of it."""
    w, r, b, q = (np.tile(column, 10) for column in some(400, 5))
    users = np.tile(np.random.default_rng(2).integers(0, 2**64, 400, np.uint64), 10)
    by_user = estimate(sums_of(weighed(w, r, b, q, users), 1), (0.0, 1.0), independent=False)
    by_decision = estimate(sums_of(weighed(w, r, b, q), 1), (0.0, 1.0), independent=True)
    plain = float((w * r).std() / math.sqrt(400))
    assert by_user.estimates[0].standard_error == pytest.approx(plain, rel=0.1)
    assert by_decision.estimates[0].standard_error == pytest.approx(plain / math.sqrt(10), rel=0.1)
    assert by_user.estimates[0].bernstein is None
    assert by_decision.ess == pytest.approx(np.sum(w) ** 2 / np.sum(w * w))
    assert by_user.ess == pytest.approx(by_decision.ess / 10, rel=0.15)


def test_the_bernstein_interval_is_the_formula() -> None:
    """100 values with mean 0.2 and mean square 0.08 in a range of 2: V = 0.04 * 100 / 99, L = ln 80."""
    low, high = bernstein(100, 0.2, 0.08, 2.0)
    radius = math.sqrt(2 * 0.04 * 100 / 99 * math.log(80) / 100) + 7 * 2 * math.log(80) / (3 * 99)
    assert (low, high) == (pytest.approx(0.2 - radius), pytest.approx(0.2 + radius))


def test_the_interval_of_a_ratio_holds_what_its_test_does_not_refuse() -> None:
    w, r, *_ = some(20_000, 4)
    ends = bernstein_of_ratio(
        len(w), w.mean(), (w * r).mean(), (w * w).mean(), (w * w * r).mean(), (w * w * r * r).mean(), w.max()
    )

    def refused(v: float) -> bool:
        values = w * (r - v)
        low, high = bernstein(len(w), values.mean(), (values**2).mean(), w.max())
        return not low <= 0 <= high

    assert ends[0] < np.sum(w * r) / np.sum(w) < ends[1]
    assert [refused(v) for v in (ends[0] - 1e-6, ends[0] + 1e-6, ends[1] - 1e-6, ends[1] + 1e-6)] == [
        True, False, False, True,
    ]  # fmt: skip


def test_rewards_in_other_units_give_the_same_estimates_in_these_units() -> None:
    """Rewards from -1 to 3 instead of 0 to 1: SNIPS, DR and their bounds move along; switch-DR keeps its tau."""
    w, r, b, q = some(2_000, 6)
    plain = estimate(sums_of(weighed(w, r, b, q), 1, 50), (0.0, 1.0), independent=True)
    other = estimate(sums_of(weighed(w, 4 * r - 1, 4 * b - 1, 4 * q - 1), 1, 50), (-1.0, 3.0), independent=True)
    for before, after in zip(plain.estimates[1:], other.estimates[1:], strict=True):
        assert before.bernstein is not None and after.bernstein is not None
        for ours, theirs in zip(
            (before.value, *before.interval, *before.bernstein),
            (after.value, *after.interval, *after.bernstein),
            strict=True,
        ):
            assert theirs == pytest.approx(4 * ours - 1, abs=1e-9)
    assert other.tau == plain.tau


def test_intervals_hold_the_truth() -> None:
    """200 logs of 400 decisions of two arms: 95% of the intervals hold the value, the bound's nearly all."""
    rng = np.random.default_rng(11)
    propensity, target, mean = np.array([0.8, 0.2]), np.array([0.3, 0.7]), np.array([0.2, 0.5])
    truth = float(target @ mean)
    held, bound = np.zeros(4), np.zeros(4)
    for _ in range(200):
        arm = (rng.random(400) < 0.2).astype(int)
        r = (rng.random(400) < mean[arm]).astype(float)
        w = (target / propensity)[arm]
        guess = np.array([0.25, 0.4])
        unit = rng.integers(0, 2**64, 400, np.uint64)
        found = estimate(
            sums_of(weighed(w, r, np.full(400, target @ guess), guess[arm], unit), 1, 200), (0.0, 1.0), independent=True
        )
        for at, each in enumerate(found.estimates):
            held[at] += each.interval[0] <= truth <= each.interval[1]
            assert each.bernstein is not None
            bound[at] += each.bernstein[0] <= truth <= each.bernstein[1]
    assert (held >= 180).all() and (bound >= 196).all()
