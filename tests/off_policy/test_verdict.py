"""When estimates are refused, and which sentence a person gets."""

from __future__ import annotations

import pytest

from pipelines.off_policy.estimators import Difference, Estimate, Estimates
from pipelines.off_policy.verdict import promote, propensity_notes, refusals


def found(value: float, low: float, high: float, mean_weight: float = 1.0) -> Estimates:
    """A doubly robust estimate beside a log of 0.10, with the interval of the difference."""
    logged = Estimate("logged", 0.10, 0.001, (0.098, 0.102), None)
    dr = Estimate("dr", value, 0.002, (value - 0.004, value + 0.004), None)
    differences = {"dr": Difference(value - 0.10, (low, high))}
    return Estimates(logged, (dr,), differences, 1_000.0, 8.0, mean_weight, (mean_weight - 0.02, mean_weight + 0.02))


def test_the_limits_are_inclusive() -> None:
    assert refusals(200.0, 200.0, 0.01, ["a"]) == []
    assert len(refusals(199.9, 200.0, 0.0101, ["a"])) == 2
    assert "on arm c" in refusals(500.0, 200.0, 0.5, ["c", "a"])[0]


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [(0.12, 0.01, 0.03, "promote"), (0.08, -0.03, -0.01, "keep"), (0.101, -0.001, 0.003, "undecided")],
)
def test_the_interval_of_the_difference_decides(value: float, low: float, high: float, verdict: str) -> None:
    decided = promote("always b", found(value, low, high), 1_000, [])
    assert decided.verdict == verdict
    assert f"{value:.4g} a decision and the log earned 0.1," in decided.sentence


def test_an_undecided_verdict_says_how_many_decisions_would_decide() -> None:
    """A difference of 0.001 with a half width of 0.002 takes four times the 1,000 decisions."""
    assert promote("p", found(0.101, -0.001, 0.003), 1_000, []).sentence.endswith(
        "; about 4,000 decisions would decide a difference of this size"
    )
    assert promote("p", found(0.10, -0.002, 0.002), 1_000, []).sentence.endswith("doubly robust)")


def test_a_refusal_comes_before_any_verdict() -> None:
    decided = promote("always b", found(0.12, 0.01, 0.03), 1_000, ["too few"])
    assert (decided.verdict, decided.sentence) == ("refused", "no verdict on always b: too few")


def test_weights_that_average_1_less_the_unsupported_share_are_right() -> None:
    """The interval has a half width of 0.02, and twice that is accepted."""
    assert propensity_notes(found(0.1, -1, 1, mean_weight=0.96), 0.0) == []
    assert propensity_notes(found(0.1, -1, 1, mean_weight=0.9), 0.1) == []
    assert "average 0.95 instead of 1" in propensity_notes(found(0.1, -1, 1, mean_weight=0.95), 0.0)[0]
