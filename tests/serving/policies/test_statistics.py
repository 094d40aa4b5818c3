"""What a policy learns from a snapshot: decay, hours, thin segments, earlier generations, features."""

from __future__ import annotations

import numpy as np
import pytest

from serving_client.contracts.bandits import feature_schema
from serving_client.policies.statistics import statistics_of
from serving_client.snapshots.snapshot import Decayed, Hour, Lin
from tests.serving.policies.bandits import HOUR_US, START_US, bandit, row, snapshot

TWO = {"cf": {}, "vae": {"generation": 2}}
EMPTY = {"n": [0, 0], "sum_r": [0, 0], "sum_r2": [0, 0], "pending": [0, 0], "prior": [[1, 1], [1, 1]]}


def test_a_segments_rows_of_the_current_generations_count() -> None:
    rows = {
        ("free", "cf", 1): row(10, 3, pending=4),
        ("free", "vae", 1): row(900, 90),
        ("free", "vae", 2): row(20, 5),
        ("*", "cf", 1): row(1_000, 100),
    }
    found = statistics_of(bandit(TWO), snapshot(rows), "free", ["vae", "cf"])
    assert found.n.tolist() == [20, 10]
    assert found.sum_r.tolist() == [5, 3]
    assert found.sum_r2.tolist() == [5, 3]
    assert found.pending.tolist() == [0, 4]
    assert found.prior.tolist() == [[1, 1], [1, 1]]
    assert found.arm_ids == ("vae", "cf")
    assert found.xtx is None


@pytest.mark.parametrize(
    "known", [None, snapshot({}), snapshot({("free", "cf", 1): row(10, 3)}, policy_epoch=2)], ids=["no", "empty", "old"]
)
def test_without_rows_of_the_epoch_only_the_prior_is_known(known: object) -> None:
    found = statistics_of(bandit(TWO), known, "free", ["cf", "vae"])  # type: ignore[arg-type]
    assert {name: getattr(found, name).tolist() for name in EMPTY} == EMPTY


def test_decayed_sums_are_those_at_the_watermark() -> None:
    """The reference lies half an hour after the watermark: with a half-life of 1h the sums are 2^0.5 times larger."""
    decayed = Decayed(START_US + HOUR_US // 2, 8.0, 2.0, 1.5)
    policy = {"kind": "thompson_beta", "half_life": "1h"}
    chosen = bandit({"cf": {}}, policy, half_lives=["1h", "24h"])
    known = snapshot(
        {("*", "cf", 1): row(100, 50, decayed={"1h": decayed, "24h": Decayed(START_US, 90.0, 45.0, 45.0)})}
    )
    found = statistics_of(chosen, known, "*", ["cf"])
    assert [found.n[0], found.sum_r[0], found.sum_r2[0]] == pytest.approx([8 * 2**0.5, 2 * 2**0.5, 1.5 * 2**0.5])


def test_decay_before_the_first_decision_gives_zero() -> None:
    chosen = bandit({"cf": {}}, {"kind": "thompson_beta", "half_life": "1h"}, half_lives=["1h"])
    empty = row(0, 0, decayed={"1h": Decayed(None, 0.0, 0.0, 0.0)})
    assert statistics_of(chosen, snapshot({("*", "cf", 1): empty}, watermark_us=None), "*", ["cf"]).n.tolist() == [0]


def test_the_last_hours_end_with_that_of_the_watermark() -> None:
    """At 00:30 the last two hours are those from 23:00 and from 00:00."""
    hours = [Hour(START_US + at * HOUR_US, 10.0**-at, 1.0, 1.0) for at in (-3, -2, -1, 0)]
    chosen = bandit({"cf": {}}, {"kind": "ucb1", "hours": 2})
    known = snapshot({("*", "cf", 1): row(5_000, 100, hours=hours)}, START_US + HOUR_US // 2)
    found = statistics_of(chosen, known, "*", ["cf"])
    assert (found.n[0], found.sum_r[0]) == (11, 2)


def test_a_thin_segment_borrows_decisions_with_the_mean_of_all() -> None:
    """min_n 50: the segment's 10 are filled up with 40 of mean 0.1, and 40 x 0.1 = 4 rewards."""
    rows = {("free", "cf", 1): row(10, 3, pending=2), ("*", "cf", 1): row(1_000, 100, pending=70)}
    chosen = bandit({"cf": {}}, shrinkage={"min_n": 50})
    found = statistics_of(chosen, snapshot(rows), "free", ["cf"])
    assert (found.n[0], found.sum_r[0], found.sum_r2[0], found.pending[0]) == (50, 7, 7, 2)
    assert statistics_of(chosen, snapshot(rows), "new", ["cf"]).n.tolist() == [50]
    assert statistics_of(chosen, snapshot(rows), "*", ["cf"]).n.tolist() == [1_000]
    assert statistics_of(bandit({"cf": {}}), snapshot(rows), "free", ["cf"]).n.tolist() == [10]


def test_a_segment_borrows_no_more_than_the_others_have() -> None:
    """`*` has 12 decisions, 10 of which are the segment's: 2 are borrowed, with a mean of 1/3."""
    rows = {("free", "cf", 1): row(10, 3), ("*", "cf", 1): row(12, 4)}
    found = statistics_of(bandit({"cf": {}}, shrinkage={"min_n": 500}), snapshot(rows), "free", ["cf"])
    assert (found.n[0], found.sum_r[0]) == pytest.approx((12, 3 + 2 / 3))


def test_an_earlier_generation_adds_pseudo_counts_to_a_beta_prior() -> None:
    """0.1 x 1,000 decisions with a mean of 0.2: 20 successes and 80 failures."""
    chosen = bandit({"cf": {"generation": 2, "prior_from": {"generation": 1, "weight": 0.1}}}, prior={"cf": [2, 3]})
    rows = {("*", "cf", 1): row(1_000, 200), ("*", "cf", 2): row(4, 1)}
    found = statistics_of(chosen, snapshot(rows), "*", ["cf"])
    assert found.prior.tolist() == [[22, 83]]
    assert (found.n[0], found.sum_r[0]) == (4, 1)
    assert statistics_of(chosen, snapshot({}), "*", ["cf"]).prior.tolist() == [[2, 3]]


def test_an_earlier_generation_moves_the_mean_of_other_priors() -> None:
    """Prior 0.5 with weight 50, and 0.1 x 1,000 decisions with a mean of 0.2: (25 + 20) / 150 with weight 150."""
    arms = {"cf": {"generation": 2, "prior_from": {"generation": 1, "weight": 0.1}}}
    chosen = bandit(arms, {"kind": "ucb1"}, prior={"cf": [0.5, 50]})
    found = statistics_of(chosen, snapshot({("*", "cf", 1): row(1_000, 200)}), "*", ["cf"])
    assert found.prior.tolist() == [pytest.approx([0.3, 150])]


def test_features_count_if_their_schema_is_the_bandits() -> None:
    chosen = bandit(
        TWO,
        {"kind": "linucb"},
        features=[{"name": "age", "type": "numeric"}, {"name": "paid", "type": "bool"}],
        shrinkage={"min_n": 6},
    )
    own = Lin(feature_schema(chosen), 2, np.array([[4.0, 1.0], [1.0, 2.0]]), np.array([1.0, 0.5]))
    whole = Lin(feature_schema(chosen), 2, np.array([[40.0, 10.0], [10.0, 20.0]]), np.array([10.0, 5.0]))
    other = Lin("ffffffffffffffff", 2, own.xtx, own.xtr)
    rows = {
        ("free", "cf", 1): row(5, 1, lin=own),
        ("*", "cf", 1): row(40, 8, lin=whole),
        ("free", "vae", 2): row(5, 1, lin=other),
    }
    found = statistics_of(chosen, snapshot(rows), "free", ["cf", "vae"])
    assert found.xtx is not None
    assert found.xtr is not None
    assert found.xtx[0].tolist() == [[5.0, 1.25], [1.25, 2.5]]  # one of the 40 decisions of `*` is borrowed
    assert found.xtr[0].tolist() == [1.25, 0.625]
    assert not found.xtx[1].any()
    assert not found.xtr[1].any()
