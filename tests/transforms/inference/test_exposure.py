"""Sample-ratio mismatch: alarms are as rare as promised whenever one looks, and a skew is found."""

from __future__ import annotations

import math

import numpy as np
import pytest

from transforms.inference.exposure import ALARM, bandit_e_value, e_values, exposure_by_user, gaps


def rows_of(arms, p, fallbacks=0):
    """Rows from columns: the arm drawn and the propensity logged with it."""
    rows = []
    for arm in sorted(set(arms.tolist())):
        w = 1 / p[arms == arm]
        ipw = {"n": len(w), "sum_w": float(w.sum()), "sum_w2": float((w * w).sum()), "missing": 0}
        row = {
            "segment": "*",
            "arm_id": f"arm{arm}",
            "arm_generation": 1,
            "n": len(w),
            "fallbacks": fallbacks,
            "ipw": ipw,
        }
        rows.append(row)
    return rows


def greatest_over_looks(arms, p, arm_count):
    """The largest mean e-value over a look after every decision, by the same formula on cumulative sums."""
    totals = np.zeros(len(arms))
    for arm in range(arm_count):
        x = np.where(arms == arm, 1 / p, 0.0) - 1
        s, v = np.cumsum(x), np.cumsum(x * x)
        rates = 2.0 ** -np.arange(1, 18)
        totals += np.mean([np.exp(rate * s + (np.log1p(-rate) + rate) * v) for rate in rates], axis=0)
    return float((totals / arm_count).max())


def test_an_e_value_is_the_mixture_worked_by_hand():
    """p = .5, 3 of a and 1 of b: for a S = 3 x 2 - 4 = 2, V = 3 x 4 - 2 x 6 + 4 = 4; for b S = -2, V = 4."""
    rows = rows_of(np.array([0, 0, 0, 1]), np.full(4, 0.5))
    rates = [2.0**-step for step in range(1, 18)]

    def mixture(s, v):
        return sum(math.exp(rate * s + (math.log(1 - rate) + rate) * v) for rate in rates) / len(rates)

    assert e_values(rows) == pytest.approx({"arm0": mixture(2, 4), "arm1": mixture(-2, 4)})
    assert bandit_e_value(rows) == pytest.approx((mixture(2, 4) + mixture(-2, 4)) / 2)


@pytest.mark.parametrize("floor", [0.5, 0.02])
def test_looking_at_every_step_of_300_healthy_streams_raises_no_more_alarms_than_alpha(floor):
    """Propensities follow the past (the share of arm 0 among the last draws), as an adaptive policy's do.

    At alpha = .05 at most 15 of 300 are expected; 26 would have a chance of .003 if it were exactly alpha.
    """
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(300):
        u = rng.random(1_500)
        arms, p = np.empty(len(u), int), np.empty(len(u))
        share = 0.5
        for at, draw in enumerate(u):
            chance = min(max(share, floor), 1 - floor)
            arms[at] = draw >= chance
            p[at] = chance if arms[at] == 0 else 1 - chance
            share = 0.95 * share + 0.05 * (arms[at] == 0)
        alarms += greatest_over_looks(arms, p, 2) >= 20
    assert alarms < 26


@pytest.mark.parametrize(("true", "logged"), [((0.51, 0.49), (0.5, 0.5)), ((0.118, 0.882), (0.1, 0.9))])
def test_a_skew_of_two_percentage_points_is_found(true, logged):
    rng = np.random.default_rng(11)
    arms = (rng.random(120_000) >= true[0]).astype(int)
    assert bandit_e_value(rows_of(arms, np.asarray(logged)[arms])) >= ALARM


def test_losing_two_percent_of_one_arms_decisions_is_found():
    rng = np.random.default_rng(12)
    arms = (rng.random(200_000) >= 0.5).astype(int)
    kept = (arms == 1) | (rng.random(len(arms)) >= 0.04)
    assert bandit_e_value(rows_of(arms[kept], np.full(int(kept.sum()), 0.5))) >= ALARM


def test_an_arm_that_is_often_not_eligible_raises_no_alarm():
    """Arm 2 is eligible in every third decision, one in three then: its sum_w is a third of the decisions."""
    rng = np.random.default_rng(13)
    eligible = np.arange(60_000) % 3 == 0
    arms = np.where(eligible, rng.integers(0, 3, 60_000), rng.integers(0, 2, 60_000))
    assert bandit_e_value(rows_of(arms, np.where(eligible, 1 / 3, 1 / 2))) < 20


def test_failed_models_are_no_mismatch_of_the_draw():
    """A tenth of arm 1's decisions served arm 0 instead: they enter no n, and are among the decisions."""
    rng = np.random.default_rng(14)
    arms = rng.integers(0, 2, 100_000)
    failed = (arms == 1) & (rng.random(len(arms)) < 0.1)
    rows = rows_of(arms[~failed], np.full(int((~failed).sum()), 0.5))
    assert bandit_e_value(rows) >= ALARM
    rows[1]["fallbacks"] = int(failed.sum())
    assert bandit_e_value(rows) < 20


def test_there_is_no_verdict_where_rows_may_have_left_the_snapshot():
    arms = np.array([0, 1] * 50)
    rows = rows_of(arms, np.full(100, 0.5))
    rows[1]["arm_generation"] = 3
    assert e_values(rows) == {}
    assert bandit_e_value(rows) is None
    assert set(e_values(rows, decisions=100)) == {"arm0", "arm1"}
    assert bandit_e_value(rows[:1]) is None
    assert gaps(rows) == [("arm1", 1), ("arm1", 2)]
    assert gaps([{**row, "segment": "free"} for row in rows]) == []


def test_segments_are_left_out():
    rows = rows_of(np.array([0, 1] * 50), np.full(100, 0.5))
    assert e_values([*rows, *({**row, "segment": "free"} for row in rows)]) == e_values(rows)


def test_a_mismatch_beyond_float64_is_infinite():
    assert bandit_e_value(rows_of(np.repeat([0, 1], [99_000, 1_000]), np.full(100_000, 0.5))) == math.inf


def decision(user, arm, p=0.5, **more):
    return {"bandit_id": "home", "policy_epoch": 1, "user_key": user, "arm_id": arm, "propensity": p} | more


def test_sticky_users_count_once_each():
    log = [decision("u1", "a"), decision("u1", "a"), decision("u2", "b", 0.25), decision("u3", "a", bot=True)]
    log += [decision("u6", "a", 1.0, holdback=True)]
    log += [decision(None, "a"), decision("u4", "b", 0.0), decision("u5", "a", policy_epoch=2)]
    by_user = exposure_by_user(log)
    assert list(by_user) == [("home", 1), ("home", 2)]
    a, b = by_user["home", 1]
    assert (a["n"], a["ipw"]["sum_w"], a["ipw"]["sum_w2"]) == (1, 2.0, 4.0)
    assert (b["n"], b["ipw"]["n"], b["ipw"]["sum_w"], b["ipw"]["missing"]) == (2, 1, 4.0, 1)


def test_heavy_sticky_users_alarm_by_decisions_and_not_by_users():
    """100 users of 1,000 decisions each, assigned half and half: 55 of them to arm a by chance."""
    users = [("a" if user < 55 else "b", f"u{user}") for user in range(100)]
    log = [decision(user, arm) for _ in range(1_000) for arm, user in users]
    arms = np.array([0 if each["arm_id"] == "a" else 1 for each in log])
    assert bandit_e_value(rows_of(arms, np.full(len(arms), 0.5))) >= ALARM
    assert bandit_e_value(exposure_by_user(log)["home", 1]) < 20
