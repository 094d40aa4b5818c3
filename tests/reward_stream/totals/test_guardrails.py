"""Guardrails stop an arm that is surely outside its limit, and, however often one looks, hardly ever another."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipelines.reward_stream.totals.guardrails import tripped
from serving_client.bandits_file import parse_bytes
from serving_client.contracts.bandits import Bandit

ALPHA = 0.05


def bandit_with(guardrails: str, aggregate: str = "any") -> Bandit:
    kind = "thompson_beta" if aggregate == "any" else "thompson_gaussian"
    return parse_bytes(
        f"""
bandits:
  row:
    policy_epoch: 1
    default_arm: a
    arms:
      a: {{generation: 1, model: m}}
      b: {{generation: 2, model: m}}
      c: {{generation: 1, model: m, state: draining}}
    policy: {{kind: {kind}, floor: 0.02}}
    attribution: {{window: 20s, allowed_lateness: 40s, aggregate: {aggregate}}}
    guardrails: {guardrails}
""".encode(),
        "test",
    ).bandits["row"]


def row(arm="b", generation=2, n=1000, clicks=0.0, squares=None, fallbacks=0, kinds=None, segment="*"):
    return {
        "segment": segment,
        "arm_id": arm,
        "arm_generation": generation,
        "n": n,
        "sum_r": clicks,
        "sum_r2": clicks if squares is None else squares,
        "fallbacks": fallbacks,
        "kinds": kinds or {},
    }


def stopped(guardrails: str, *rows, aggregate="any"):
    return [entry["arm"] for entry in tripped(bandit_with(guardrails, aggregate), rows)]


CASES = {
    "fallbacks": ("[{metric: fallbacks, max: 0.05}]", row(n=900, fallbacks=100), row(n=960, fallbacks=40)),
    "reward below": ("[{metric: reward, min: 0.1}]", row(clicks=50), row(clicks=90)),
    "reward above": ("[{metric: reward, max: 0.1}]", row(clicks=150), row(clicks=110)),
    "complaints": (
        "[{metric: 'kind:complaint', max: 0.01}]",
        row(kinds={"complaint": 40}),
        row(kinds={"complaint": 12}),
    ),
    "too few views": ("[{metric: 'kind:view', min: 0.9}]", row(kinds={"view": 500}), row(kinds={"view": 880})),
    "none allowed": ("[{metric: fallbacks, max: 0}]", row(fallbacks=1), row(fallbacks=0)),
    "too few decisions": (
        "[{metric: reward, min: 0.5, min_n: 2000}]",
        row(n=2000, clicks=100),
        row(n=1999, clicks=100),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_arm_far_outside_is_stopped_and_one_that_may_be_inside_is_not(case: str) -> None:
    guardrails, outside, inside = CASES[case]
    assert stopped(guardrails, outside) == ["b"]
    assert stopped(guardrails, inside) == []


def test_rewards_without_bounds_are_judged_by_their_spread() -> None:
    """Mean 2 over 1,000: with deviation 1 surely above 1.5, with deviation 20 not."""
    guardrails = "[{metric: reward, max: 1.5}]"
    assert stopped(guardrails, row(clicks=2000, squares=5_000), aggregate="sum") == ["b"]
    assert stopped(guardrails, row(clicks=2000, squares=404_000), aggregate="sum") == []


def test_against_another_arm_the_difference_counts() -> None:
    guardrails = "[{metric: reward, arm: b, against: a, min: -0.05}]"
    base = row("a", 1, n=10_000, clicks=2_000)
    assert stopped(guardrails, row(n=10_000, clicks=1_200), base) == ["b"]
    assert stopped(guardrails, row(n=10_000, clicks=1_600), base) == []
    assert stopped(guardrails, row(n=10_000, clicks=1_200)) == []  # nothing is known of a


def test_only_present_generations_of_active_arms_but_the_default_are_watched() -> None:
    guardrails = "[{metric: fallbacks, max: 0.05}]"
    bad = {"n": 100, "fallbacks": 900}
    rows = [row("a", 1, **bad), row("b", 1, **bad), row("b", 2, segment="free", **bad), row("c", 1, **bad)]
    assert stopped(guardrails, *rows) == []
    assert stopped("[{metric: fallbacks, arm: c, max: 0.05}]", *rows) == ["c"]


def test_the_reason_names_metric_value_limit_and_size() -> None:
    bandit = bandit_with("[{metric: fallbacks, max: 0.05}, {metric: reward, min: 0.5}]")
    assert tripped(bandit, [row(n=900, fallbacks=100)]) == [
        {"arm": "b", "generation": 2, "reason": "fallbacks 0.1 is above 0.05 after 1000 decisions (alpha 0.01)"}
    ]


@pytest.mark.parametrize("p", [0.02, 0.5])
@pytest.mark.parametrize("bound", ["max", "min"])
@pytest.mark.parametrize("metric", ["reward", "kind:view"])
def test_an_arm_exactly_at_its_limit_is_stopped_in_less_than_alpha_of_runs(metric: str, bound: str, p: float) -> None:
    """200 runs, looked at 40 times each up to 4,000 decisions. At most 5% may trip: 10 expected, 4 sigma is 22."""
    rng = np.random.default_rng(1)
    bandit = bandit_with(f"[{{metric: '{metric}', {bound}: {p}, alpha: {ALPHA}, min_n: 1}}]")
    runs, looks, size = 200, 40, 100
    totals = np.cumsum(rng.binomial(size, p, (runs, looks)), axis=1)
    false_alarms = 0
    for run in totals.tolist():
        rows = [row(n=size * at, clicks=k, kinds={"view": k}) for at, k in enumerate(run, 1)]
        false_alarms += any(tripped(bandit, [each]) for each in rows)
    assert false_alarms <= ALPHA * runs + 4 * math.sqrt(ALPHA * (1 - ALPHA) * runs)


@pytest.mark.parametrize("aggregate", ["any", "sum"])
def test_a_difference_at_its_limit_is_rarely_an_alarm_and_a_larger_one_is_found(aggregate: str) -> None:
    rng = np.random.default_rng(2)
    bandit = bandit_with(f"[{{metric: reward, arm: b, against: a, min: -0.05, alpha: {ALPHA}, min_n: 500}}]", aggregate)

    def alarms(p_b: float, p_a: float) -> int:
        found = 0
        for _ in range(30):
            a, b = (np.cumsum(rng.binomial(500, p, 10)).tolist() for p in (p_a, p_b))
            found += any(
                tripped(bandit, [row("a", 1, 500 * at, x), row("b", 2, 500 * at, y)])
                for at, (x, y) in enumerate(zip(a, b, strict=True), 1)
            )
        return found

    assert alarms(0.25, 0.3) <= 30 * ALPHA + 4 * math.sqrt(30 * ALPHA)
    assert alarms(0.15, 0.3) == 30
