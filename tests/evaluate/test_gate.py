"""Gates: what their text means and when they pass."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.evaluate.gate import Gate, decide, parse
from pipelines.evaluate.sums import block_sums
from transforms.errors import BadUsage
from transforms.ranking.lists import Lists
from transforms.ranking.metrics import columns


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("cf>=popularity:ndcg@100", Gate("cf", "popularity", "ndcg", 100)),
        ("vae-2>=serving:recall_plain@20:0.005", Gate("vae-2", "serving", "recall_plain", 20, 0.005)),
    ],
)
def test_a_gate_reads_as_it_is_written(text: str, gate: Gate) -> None:
    assert parse(text) == gate
    assert str(gate) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cf>popularity:ndcg@100",
        "cf>=x:ndcg",
        "cf>=x:auc@10",
        "cf>=x:ndcg@10:-1",
        "cf>=x:ndcg@10:nan",
        "cf>=x:list_shortfall@5",
    ],
)
def test_a_malformed_gate_is_bad_usage_that_quotes_it(text: str) -> None:
    with pytest.raises(BadUsage, match="--gate="):
        parse(text)


@pytest.mark.parametrize(("margin", "passed"), [(0.0, False), (0.2, False), (0.25, True), (0.5, True)])
def test_the_margin_is_how_far_the_candidate_may_fall_behind(margin: float, passed: bool) -> None:
    """Of four users the baseline finds all, the candidate three: recall@1 .75 and 1, difference -.25.

    The differences are 0, 0, 0, -1: deviation .5, error .25, interval -.25 -+ .49.
    """
    targets = Lists.of([[0]] * 4)
    right, wrong = np.array([[0]] * 4, np.int32), np.array([[0]] * 3 + [[1]], np.int32)
    sums = block_sums([wrong, right], [0, 0], np.full(4, 5), targets, 2, [1])
    verdict = decide(Gate("new", "old", "recall", 1, margin), sums, ["new", "old"], columns([1]))
    assert verdict.passed is passed
    assert (verdict.candidate_mean, verdict.baseline_mean, verdict.difference) == (0.75, 1.0, -0.25)
    assert (verdict.low, verdict.high) == pytest.approx((-0.25 - 0.489991, -0.25 + 0.489991), abs=1e-5)
    assert "not significant" in verdict.sentence()


def test_a_model_passes_against_itself() -> None:
    lists = np.array([[0]] * 4, np.int32)
    sums = block_sums([lists], [0], np.full(4, 5), Lists.of([[0]] * 4), 2, [1])
    assert decide(Gate("a", "a", "ndcg", 1), sums, ["a"], columns([1])).passed
