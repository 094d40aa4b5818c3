"""The metrics against plain Python loops, and against lists whose answer is worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.ranking.lists import EMPTY, FOREIGN, Lists, best_of_row
from transforms.ranking.metrics import METRICS, columns, user_metrics

ITEMS = 12
KS = [1, 3, 5]


def slow_metrics(ranked: list[int], targets: set[int], k: int) -> dict[str, float]:
    shown = ranked[:k]
    hits = [item in targets for item in shown]
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(targets)) + 1))
    precisions = [sum(hits[:rank]) / rank for rank in range(1, len(shown) + 1) if hits[rank - 1]]
    return {
        "ndcg": sum(1 / math.log2(rank + 1) for rank, hit in enumerate(hits, 1) if hit) / ideal,
        "recall": sum(hits) / min(k, len(targets)),
        "recall_plain": sum(hits) / len(targets),
        "map": sum(precisions) / min(k, len(targets)),
        "mrr": 1 / (hits.index(True) + 1) if any(hits) else 0.0,
        "hit_rate": float(any(hits)),
        "list_shortfall": (k - len(shown)) / k,
    }


@st.composite
def users(draw: st.DrawFn) -> tuple[list[int], set[int]]:
    ranked = draw(st.lists(st.integers(0, ITEMS - 1), unique=True, max_size=max(KS)))
    if ranked and draw(st.booleans()):
        ranked[draw(st.integers(0, len(ranked) - 1))] = FOREIGN
    return ranked, draw(st.sets(st.integers(0, ITEMS - 1), min_size=1))


@given(st.lists(users(), min_size=1, max_size=6))
def test_every_metric_equals_the_plain_loop(block: list[tuple[list[int], set[int]]]) -> None:
    ranked = np.array([one + [EMPTY] * (max(KS) - len(one)) for one, _ in block], np.int32)
    targets = Lists.of([sorted(held) for _, held in block])
    found = user_metrics(ranked, targets, ITEMS, KS)
    assert len(columns(KS)) == found.shape[1]
    for row, (one, held) in enumerate(block):
        for place, name in enumerate(columns(KS)):
            metric, _, k = name.partition("@")
            assert found[row, place] == pytest.approx(slow_metrics(one, held, int(k))[metric], abs=1e-12)


def test_a_hand_worked_list() -> None:
    """Ranked 4, 7, 2; held out 7, 2, 9: hits at ranks 2 and 3 of 3.

    ndcg = (1/log2 3 + 1/log2 4) / (1/log2 2 + 1/log2 3 + 1/log2 4) = 1.1309 / 2.1309 = .5307;
    map = (1/2 + 2/3) / 3 = .3889; mrr = 1/2; recall = recall_plain = 2/3.
    """
    found = user_metrics(np.array([[4, 7, 2]], np.int32), Lists.of([[2, 7, 9]]), ITEMS, [3])[0]
    values = dict(zip(METRICS, found.tolist(), strict=True))
    assert values == pytest.approx(
        {
            "ndcg": 0.530721,
            "recall": 2 / 3,
            "recall_plain": 2 / 3,
            "map": 7 / 18,
            "mrr": 0.5,
            "hit_rate": 1,
            "list_shortfall": 0,
        },
        abs=1e-6,
    )


def test_recall_and_recall_plain_differ_when_more_is_held_out_than_k() -> None:
    found = user_metrics(np.array([[0]], np.int32), Lists.of([[0, 1, 2, 3]]), ITEMS, [1])[0]
    values = dict(zip(METRICS, found.tolist(), strict=True))
    assert (values["recall"], values["recall_plain"], values["ndcg"]) == (1.0, 0.25, 1.0)


@given(st.lists(st.integers(0, 5), max_size=20), st.integers(1, 8), st.randoms())
def test_best_of_row_is_a_sort_by_score_then_column(scores: list[int], k: int, random) -> None:
    candidates = list(range(len(scores)))
    random.shuffle(candidates)
    best = best_of_row(np.array(candidates, np.int32), np.array(scores, np.float64), k)
    expected = sorted(range(len(scores)), key=lambda place: (-scores[place], candidates[place]))[:k]
    assert best.tolist() == expected
