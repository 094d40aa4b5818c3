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
