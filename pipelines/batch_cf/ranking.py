"""Score every pair once and keep the best neighbors of each item.

The score is computed in float64 from the final sums and published as float32. Pairs whose published scores are equal
are ordered by item id, so that a reader can check the order. Neither the thread nor the strategy can change a row.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from pipelines.batch_cf import kernels
from pipelines.batch_cf.histories import HistoryMatrix, ItemMajor
from pipelines.batch_cf.similarities import Parameters, Similarity
from pipelines.batch_cf.sums import PairSums, empty, sum_rows

__all__ = ["TASK_ROWS", "Neighbors", "Scoring", "join", "pair_values", "rank_histories", "rank_sums"]

TASK_ROWS = 256
"""Rows a thread takes at a time: short enough that two threads end together, long enough to forget the hand-over."""


@dataclasses.dataclass(frozen=True, eq=False)
class Scoring:
    """The values that turn a pair's sums into a score.

    Args:
        marginals: float64 [items], n_i: users with the item, or for weighted sums the sum of w^2.
        exponent: The sum of pair (i, j) is in units of 2^(scales[i] + scales[j] - exponent).
        scales: int64 [items], None for zeros.
        eligible: bool [items], candidates that may be a neighbor.
    """

    similarity: Similarity
    parameters: Parameters
    marginals: npt.NDArray[np.float64]
    exponent: int
    eligible: npt.NDArray[np.bool_]
    top_k: int
    scales: npt.NDArray[np.int64] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbors:
    """The best neighbors of rows first_row, first_row + 1, …, best first.

    Args:
        lengths: int64 [rows], neighbors of each row.
        neighbors: uint32 [sum of lengths], item indices.
        scores: float32 [sum of lengths].
        cooccurrence: int64 [sum of lengths].
        pairs: Number of pairs scored.
    """

    first_row: int
    lengths: npt.NDArray[np.int64]
    neighbors: npt.NDArray[np.uint32]
    scores: npt.NDArray[np.float32]
    cooccurrence: npt.NDArray[np.int64]
    pairs: int


def rank_sums(part: PairSums, scoring: Scoring) -> Neighbors:
    """Score and rank the rows of one chunk of final sums."""
    rows = len(part.row_ends)
    score = scoring.similarity.score
    if score is None:
        raise ValueError("the similarity is no function of a pair; see `ease`")
    n_ij, n_i, n_j = np.empty((3, len(part.columns)))
    row_marginals = scoring.marginals[part.first_row : part.first_row + rows]
    kernels.gather_terms(part.row_ends, part.columns, part.counts, row_marginals, scoring.marginals, n_ij, n_i, n_j)
    if part.sums is not None:
        n_ij = pair_values(part, scoring)
    scores = score(n_ij, n_i, n_j, scoring.parameters).astype(np.float32)
    scores += np.float32(0.0)  # -0.0 becomes 0.0, so that equal scores have equal bits
    places = np.empty((rows, scoring.top_k), np.int64)
    lengths = np.empty(rows, np.int64)
    kernels.top_k(part.row_ends, part.columns, scores.view(np.int32), scoring.eligible, places, lengths)
    best = places[np.arange(scoring.top_k) < lengths[:, None]]
    return Neighbors(
        part.first_row,
        lengths,
        part.columns.take(best),
        scores.take(best),
        part.counts.take(best).astype(np.int64),
        len(part.columns),
    )


def rank_histories(
    histories: HistoryMatrix,
    by_item: ItemMajor,
    start: int,
    stop: int,
    scoring: Scoring,
    user_scale: npt.NDArray[np.float64] | None = None,
    threads: int = 1,
    on_rows: Callable[[int, int], None] | None = None,
) -> Neighbors:
    """Sum and rank item rows [start, stop), chunk by chunk on `threads` threads.

    Args:
        histories: The matrix by user.
        by_item: The same matrix by item.
        start: First row.
        stop: One past the last row.
        scoring: How sums become scores.
        user_scale: As in `sums.sum_rows`.
        threads: Number of threads.
        on_rows: Called on the calling thread with the rows and the pairs of each finished piece.

    Returns:
        The neighbors of the rows.
    """

    def rank_task(first: int) -> list[Neighbors]:
        last = min(first + TASK_ROWS, stop)
        return [rank_sums(part, scoring) for part in sum_rows(histories, by_item, first, last, user_scale)]

    done = []
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for parts in pool.map(rank_task, range(start, stop, TASK_ROWS)):
            done += parts
            if on_rows is not None:
                on_rows(sum(len(part.lengths) for part in parts), sum(part.pairs for part in parts))
    return join(done) if done else rank_sums(empty(len(scoring.marginals), start, 0), scoring)


def join(parts: Sequence[Neighbors]) -> Neighbors:
    """Join the neighbors of consecutive rows, in order."""
    return Neighbors(
        parts[0].first_row,
        np.concatenate([part.lengths for part in parts]),
        np.concatenate([part.neighbors for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.cooccurrence for part in parts]),
        sum(part.pairs for part in parts),
    )


def pair_values(part: PairSums, scoring: Scoring) -> npt.NDArray[np.float64]:
    """Return n_ij of each pair, the number of users or the weighted sum in units of 1, float64 [pairs]."""
    if part.sums is None:
        return part.counts.astype(np.float64)
    values: npt.NDArray[np.float64] = np.ldexp(
        part.sums.astype(np.float64), _pair_scales(part, scoring) - scoring.exponent
    )
    return values


def _pair_scales(part: PairSums, scoring: Scoring) -> npt.NDArray[np.int64] | int:
    if scoring.scales is None:
        return 0
    rows = scoring.scales[part.first_row : part.first_row + len(part.row_ends)]
    return np.repeat(rows, np.diff(part.row_ends, prepend=0)) + scoring.scales.take(part.columns)
