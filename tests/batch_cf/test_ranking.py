"""Sums and ranking of item rows against dense products and full sorts, whatever the chunks and threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.batch_cf import sums
from pipelines.batch_cf.histories import HistoryMatrix, concatenate, pair_work, transpose
from pipelines.batch_cf.ranking import Scoring, rank_histories, rank_sums
from pipelines.batch_cf.similarities import SIMILARITIES, Parameters
from pipelines.batch_cf.steps.rank_by_shuffle import SumPairsFn


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray:
    """Users by items, float64: 0 where there is no interaction, weights in eighths."""
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 9)))
    return (
        np.array(draw(st.lists(st.integers(0, 5), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))).reshape(
            shape
        )
        / 8.0
    )


def histories_of(dense: np.ndarray, weighted: bool) -> HistoryMatrix:
    rows, columns = np.nonzero(dense)
    indptr = np.concatenate(([0], np.cumsum(np.count_nonzero(dense, axis=1)))).astype(np.int64)
    return HistoryMatrix(indptr, columns.astype(np.uint32), dense[rows, columns] if weighted else None)


def densify(part: sums.PairSums, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts and sums as dense [rows, items]."""
    counts, totals = np.zeros((rows, part.items), np.int64), np.zeros((rows, part.items), np.int64)
    row_of = np.repeat(np.arange(len(part.row_ends)) + part.first_row, np.diff(part.row_ends, prepend=0))
    counts[row_of, part.columns] = part.counts
    if part.sums is not None:
        totals[row_of, part.columns] = part.sums
    return counts, totals


@given(dense=matrices(), chunk=st.integers(1, 20))
def test_counts_are_the_dense_product_without_its_diagonal(dense: np.ndarray, chunk: int) -> None:
    histories = histories_of(dense, weighted=False)
    items = dense.shape[1]
    expected = (dense > 0).astype(np.int64).T @ (dense > 0)
    np.fill_diagonal(expected, 0)
    part = sums.gather(sums.sum_rows(histories, transpose(histories, items), 0, items, chunk_pairs=chunk))
    assert (densify(part, items)[0] == expected).all()
    assert pair_work(histories) == (np.count_nonzero(dense, axis=1) ** 2).sum()


@given(dense=matrices(), chunk=st.integers(1, 20), scale=st.integers(0, 3))
def test_weighted_sums_are_the_dense_product_in_units(dense: np.ndarray, chunk: int, scale: int) -> None:
    """Weights in eighths and users weighted 1, 2, 4 or 8: products are multiples of 2^-6, exact in units of 2^-10."""
    histories = histories_of(dense, weighted=True)
    users, items = dense.shape
    factors = 2.0 ** (np.arange(users) % (scale + 1))
    expected = np.einsum("ui,uj,u->ij", dense, dense, factors)
    np.fill_diagonal(expected, 0)
    part = sums.gather(sums.sum_rows(histories, transpose(histories, items), 0, items, np.ldexp(factors, 10), chunk))
    counts, totals = densify(part, items)
    assert (totals == expected * 2**10).all()
    assert ((counts > 0) == (expected > 0)).all()


@given(dense=matrices(), cut=st.integers(0, 12), order=st.randoms(use_true_random=False), weighted=st.booleans())
def test_partial_sums_add_up_in_any_order_and_what_is_taken_away_leaves_no_trace(
    dense: np.ndarray, cut: int, order, weighted: bool
) -> None:
    items = dense.shape[1]

    def part_of(users: np.ndarray) -> sums.PairSums:
        histories = histories_of(users, weighted)
        scale = np.full(len(users), 2.0**6) if weighted else None
        return sums.gather(sums.sum_rows(histories, transpose(histories, items), 0, items, scale))

    first, second, extra = part_of(dense[:cut]), part_of(dense[cut:]), part_of(dense[::-1])
    parts = [first, second, extra, sums.negate(extra), sums.empty(items, 0, items)]
    order.shuffle(parts)
    combiner = SumPairsFn()
    one = combiner.create_accumulator()
    for part in parts:
        one = combiner.add_input(one, part)
    halves = [combiner.add_input(combiner.create_accumulator(), part) for part in parts]
    merged = combiner.compact(combiner.merge_accumulators(halves))
    whole = part_of(dense)
    for total in (combiner.extract_output(one), combiner.extract_output(merged), sums.add(parts)):
        for found, expected in zip(densify(total, items), densify(whole, items), strict=True):
            assert (found == expected).all()
        assert len(total.columns) == len(whole.columns)


def test_a_flush_of_the_combiner_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SumPairsFn, "FLUSH_BYTES", 1)
    dense = (np.random.default_rng(0).random((20, 8)) < 0.4).astype(float)
    histories = [histories_of(dense[row : row + 1], False) for row in range(20)]
    parts = [sums.gather(sums.sum_rows(h, transpose(h, 8), 0, 8)) for h in histories]
    accumulator: list[sums.PairSums] = []
    for part in parts:
        accumulator = SumPairsFn().add_input(accumulator, part)
    assert len(accumulator) < len(parts) / 2
    whole = concatenate(histories)
    expected = sums.gather(sums.sum_rows(whole, transpose(whole, 8), 0, 8))
    assert (densify(SumPairsFn().extract_output(accumulator), 8)[0] == densify(expected, 8)[0]).all()


def scoring(items: int, top_k: int, eligible: np.ndarray | None = None, measure: str = "count") -> Scoring:
    return Scoring(
        SIMILARITIES[measure], Parameters(users=10), np.arange(1.0, items + 1), 0,
        np.ones(items, bool) if eligible is None else eligible, top_k,
    )  # fmt: skip


@given(
    rows=st.lists(st.lists(st.integers(1, 4), max_size=40), min_size=1, max_size=5),
    top_k=st.integers(1, 12),
    seed=st.integers(0, 2**16),
)
def test_top_k_equals_a_full_sort_with_ties_by_item(rows: list[list[int]], top_k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    items = 40
    columns = [rng.permutation(items)[: len(row)].astype(np.uint32) for row in rows]
    eligible = rng.random(items) < 0.8
    part = sums.PairSums(
        items, 0, np.cumsum([len(row) for row in rows]).astype(np.int64), np.concatenate(columns),
        np.array([count for row in rows for count in row], np.int64), None,
    )  # fmt: skip
    ranked = rank_sums(part, scoring(items, top_k, eligible))
    starts = np.concatenate(([0], np.cumsum(ranked.lengths)))
    for number, (row, ids) in enumerate(zip(rows, columns, strict=True)):
        expected = sorted((-count, item) for count, item in zip(row, ids.tolist(), strict=True) if eligible[item])[
            :top_k
        ]
        found = slice(starts[number], starts[number + 1])
        assert list(zip((-ranked.scores[found]).tolist(), ranked.neighbors[found].tolist(), strict=True)) == expected
        assert (ranked.cooccurrence[found] == ranked.scores[found]).all()


def test_long_rows_pass_through_the_selection_buffer_many_times() -> None:
    """30,000 candidates, 5 kept: the buffer of 20 fills up again and again, with scores below zero among them."""
    rng = np.random.default_rng(3)
    counts = rng.integers(-1000, 1000, 30_000)
    part = sums.PairSums(30_000, 0, np.array([30_000]), rng.permutation(30_000).astype(np.uint32), counts, None)
    ranked = rank_sums(part, scoring(30_000, 5))
    order = np.lexsort((part.columns, -counts))[:5]
    assert ranked.neighbors.tolist() == part.columns[order].tolist()
    assert ranked.scores.tolist() == counts[order].tolist()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_and_row_ranges_do_not_change_neighbors(threads: int) -> None:
    dense = (np.random.default_rng(1).random((200, 700)) < 0.05).astype(float)
    histories = histories_of(dense, False)
    by_item = transpose(histories, 700)
    whole = rank_histories(histories, by_item, 0, 700, scoring(700, 9, measure="cosine"))
    parts = [
        rank_histories(histories, by_item, a, b, scoring(700, 9, measure="cosine"), threads=threads)
        for a, b in ((0, 300), (300, 700))
    ]
    for name in ("lengths", "neighbors", "scores", "cooccurrence"):
        assert (np.concatenate([getattr(part, name) for part in parts]) == getattr(whole, name)).all()
