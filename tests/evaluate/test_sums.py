"""The sums against the statistics module, and their indifference to how users are cut into blocks."""

from __future__ import annotations

import dataclasses
import itertools
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluate.summary import bucket_label, percentiles
from pipelines.evaluate.sums import BUCKETS, Sums, block_sums, bucket_of, merge, moments, paired
from transforms.ranking.lists import Lists
from transforms.ranking.metrics import columns, user_metrics

ITEMS, KS = 30, [2, 5]


def example(users: int, seed: int = 3) -> tuple[list[np.ndarray], Lists, np.ndarray]:
    rng = np.random.default_rng(seed)
    ranked = [np.stack([rng.permutation(ITEMS)[:5] for _ in range(users)]).astype(np.int32) for _ in range(2)]
    targets = Lists.of([sorted(rng.choice(ITEMS, rng.integers(1, 8), replace=False).tolist()) for _ in range(users)])
    return ranked, targets, rng.integers(0, 250, users)


def sums_of(ranked: list[np.ndarray], targets: Lists, lengths: np.ndarray, cuts: list[int]) -> Sums:
    edges = [0, *cuts, len(lengths)]
    parts = [
        block_sums([one[a:b] for one in ranked], [1, 2], lengths[a:b], targets.part(a, b), ITEMS, KS)
        for a, b in itertools.pairwise(edges)
    ]
    return merge(parts)


@given(st.sets(st.integers(1, 39), max_size=6), st.randoms())
def test_sums_do_not_depend_on_how_users_are_cut(cuts: set[int], random) -> None:
    ranked, targets, lengths = example(40)
    whole = sums_of(ranked, targets, lengths, [])
    cut = sums_of(ranked, targets, lengths, sorted(cuts))
    for field in dataclasses.fields(Sums):
        left, right = getattr(whole, field.name), getattr(cut, field.name)
        if field.name == "recommended":
            assert np.array_equal(left.toarray(), right.toarray())
        elif field.name != "removed":
            assert np.array_equal(left, right)
    assert cut.removed.tolist() == [len(cuts) + 1, 2 * (len(cuts) + 1)]


def test_means_and_errors_equal_the_statistics_module() -> None:
    ranked, targets, lengths = example(50)
    sums = sums_of(ranked, targets, lengths, [7, 31])
    values = [user_metrics(one, targets, ITEMS, KS) for one in ranked]
    for place in range(len(columns(KS))):
        for model in range(2):
            total, squares = int(sums.values[model, :, place].sum()), int(sums.squares[model, :, place].sum())
            found = moments(total, squares, 50)
            assert found.mean == pytest.approx(statistics.fmean(values[model][:, place]), abs=1e-11)
            assert found.standard_error == pytest.approx(statistics.stdev(values[model][:, place]) / 50**0.5, abs=1e-9)
        difference = (values[0] - values[1])[:, place].tolist()
        found = paired(sums, 0, 1, place)
        assert found.mean == pytest.approx(statistics.fmean(difference), abs=1e-11)
        assert found.standard_error == pytest.approx(statistics.stdev(difference) / 50**0.5, abs=1e-9)


def test_a_model_paired_with_itself_differs_by_nothing() -> None:
    ranked, targets, lengths = example(20)
    sums = sums_of(ranked, targets, lengths, [])
    assert paired(sums, 0, 0, 0).mean == 0.0
    assert paired(sums, 0, 0, 0).standard_error == 0.0


def test_sums_do_not_overflow_when_many_blocks_are_merged() -> None:
    ranked, targets, lengths = example(5)
    one = sums_of(ranked, targets, lengths, [])
    huge = dataclasses.replace(one, values=one.values * 2**40)
    assert merge([huge, huge]).values.sum() == 2 * 2**40 * one.values.sum() > 2**63


def test_recommended_counts_the_lists_that_hold_an_item() -> None:
    ranked, targets, lengths = example(20)
    counts = sums_of(ranked, targets, lengths, [9]).recommended.toarray()
    for model, one in enumerate(ranked):
        for place, k in enumerate(KS):
            expected = [sum(item in row[:k] for row in one.tolist()) for item in range(ITEMS)]
            assert counts[model * len(KS) + place].tolist() == expected


def test_every_history_length_falls_in_the_bucket_that_names_it() -> None:
    for length in range(300):
        first, last = BUCKETS[int(bucket_of(np.array([length]))[0])]
        assert first <= length and (last is None or length <= last)
    assert [bucket_label(place, place) for place in range(len(BUCKETS))][:3] == ["0", "1-4", "5-9"]


def test_percentiles_count_fewer_users_and_half_of_equals() -> None:
    """Users 5, 0, 2, 2: of three known items the first has two below and itself by half."""
    assert percentiles(np.array([5, 0, 2, 2])).tolist() == pytest.approx([2.5 / 3, 0, 1 / 3, 1 / 3])
