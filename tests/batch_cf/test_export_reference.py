"""The numpy scoring against the slow oracle, on random tables and histories."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.batch_cf.export import explain, recommend, score_items
from tests.batch_cf.scoring_oracle import STRANGE_IDS, oracle_of, random_table

HALF_LIVES = st.sampled_from([None, 1.0, 2.5])


@st.composite
def cases(draw):
    ids = draw(st.lists(st.sampled_from(STRANGE_IDS), min_size=1, max_size=12, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    table = random_table(rng, ids, draw(st.integers(0, 6)), unavailable=draw(st.sampled_from([0.0, 0.3, 1.0])))
    some = st.lists(st.sampled_from([*ids, "", "nobody knows"]), max_size=8)
    return table, draw(some), draw(some)


@given(case=cases(), half_life=HALF_LIVES, k=st.integers(1, 12))
def test_recommend_is_what_the_slow_loops_say(case, half_life, k):
    table, history, exclude = case
    expected = oracle_of(table, half_life).recommend(history, exclude)[:k]
    found = recommend(table, history, k, exclude, recency_half_life=half_life)
    assert [item for item, _ in found] == [item for item, _ in expected]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], rel=1e-6)


@given(case=cases(), half_life=HALF_LIVES)
def test_score_items_is_what_the_slow_loops_say(case, half_life):
    table, history, candidates = case
    oracle = oracle_of(table, half_life)
    found = score_items(table, history, candidates, recency_half_life=half_life)
    assert found.dtype == np.float32
    assert found == pytest.approx([oracle.score(history, candidate) for candidate in candidates], rel=1e-6)


@given(case=cases(), half_life=HALF_LIVES)
def test_explain_lists_the_contributions_largest_first(case, half_life):
    table, history, candidates = case
    oracle = oracle_of(table, half_life)
    for candidate in candidates:
        found = explain(table, history, candidate, recency_half_life=half_life)
        shares = [share for _, share in found]
        assert shares == sorted(shares, reverse=True)
        slow = zip(history, oracle.contributions(history, candidate), strict=True)
        expected = {item: share for item, share in slow if share}
        assert {item: share for item, share in found if share} == pytest.approx(expected, rel=1e-6)


TABLE = random_table(np.random.default_rng(7), ["a", "b", "prod-001"], 3, unavailable=0.0)


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (
            lambda: recommend(TABLE, "prod-001", 5),
            TypeError,
            r"history is one str, not a list of ids; pass \['prod-001'\]",
        ),
        (lambda: recommend(TABLE, [5], 5), TypeError, r"history\[0\] is int 5, not text"),
        (lambda: recommend(TABLE, ["a"], 5, exclude="b"), TypeError, "exclude is one str"),
        (lambda: recommend(TABLE, ["a"], 0), ValueError, "k is 0; pass a whole number from 1"),
        (lambda: recommend(TABLE, ["a"], True), TypeError, "k is bool True"),
        (
            lambda: recommend(TABLE, ["a"], 5, recency_half_life=0.0),
            ValueError,
            r"recency_half_life is 0\.0; pass None",
        ),
        (lambda: score_items(TABLE, "a", ["b"]), TypeError, "history is one str"),
        (lambda: score_items(TABLE, ["a"], "b"), TypeError, "candidates is one str"),
        (lambda: score_items(TABLE, ["a"], [5]), TypeError, r"candidates\[0\] is int 5"),
        (lambda: explain(TABLE, "a", "b"), TypeError, "history is one str"),
        (lambda: explain(TABLE, ["a"], ["b"]), TypeError, "item is list, not text; pass one item id"),
    ],
)
def test_arguments_that_cannot_be_meant_are_an_error_and_not_a_popularity_list(call, kind, says):
    with pytest.raises(kind, match=says):
        call()
