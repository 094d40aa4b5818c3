"""Recommend from a neighbor table to many users, as the served model does, and measure the lists.

A score is the sum of the neighbors' float32 scores in float64, rounded to float32. Items of the history and items of
score 0 or less are left out, and ties are in the order of ids.
"""

from __future__ import annotations

import concurrent.futures

import numba
import numpy as np
import numpy.typing as npt

from transforms.ranking.lists import Lists

__all__ = ["CUT", "quality_of_users"]

CUT = 20
_BLOCK_USERS = 256


def quality_of_users(
    histories: Lists,
    held: Lists,
    indptr: npt.NDArray[np.int64],
    neighbors: npt.NDArray[np.uint32],
    scores: npt.NDArray[np.float32],
    top_k: int,
    threads: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return NDCG@20 and recall@20 of each user.

    NDCG is divided by the ideal list of min(20, held out) hits, recall by the number of held-out items.

    Args:
        histories: Given items of each user.
        held: Held-out items of each user, at least one, sorted. Negative numbers are items that no list has.
        indptr: int64 [items + 1], row i of the table is indptr[i]:indptr[i + 1], best first.
        neighbors: uint32 [neighbors].
        scores: float32 [neighbors].
        top_k: Neighbors of each row to use.
        threads: Number of threads.

    Returns:
        Two arrays, float64 [users].
    """
    gains = 1.0 / np.log2(np.arange(2, CUT + 2))
    ideals = np.concatenate([[0.0], np.cumsum(gains)])
    ndcg, recall = np.zeros((2, len(histories)))

    def measure(start: int) -> None:
        stop = min(start + _BLOCK_USERS, len(histories))
        _quality(
            start, stop, histories.indptr, histories.items, held.indptr, held.items, indptr, neighbors, scores, top_k,
            gains, ideals, ndcg, recall,
        )  # fmt: skip

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        list(pool.map(measure, range(0, len(histories), _BLOCK_USERS)))
    return ndcg, recall


@numba.njit(cache=True, nogil=True)
def _quality(
    start: int,
    stop: int,
    history_ends: npt.NDArray[np.int64],
    history_items: npt.NDArray[np.int32],
    held_ends: npt.NDArray[np.int64],
    held_items: npt.NDArray[np.int32],
    indptr: npt.NDArray[np.int64],
    neighbors: npt.NDArray[np.uint32],
    scores: npt.NDArray[np.float32],
    top_k: int,
    gains: npt.NDArray[np.float64],
    ideals: npt.NDArray[np.float64],
    ndcg: npt.NDArray[np.float64],
    recall: npt.NDArray[np.float64],
) -> None:
    """Write the figures of users [start, stop) to ndcg and recall."""
    items = len(indptr) - 1
    sums = np.zeros(items)
    seen = np.zeros(items, np.bool_)
    touched = np.empty(items, np.int64)
    cut = len(gains)
    best = np.empty(cut, np.int64)
    values = np.empty(cut, np.float32)
    for user in range(start, stop):
        used = 0
        for at in range(history_ends[user], history_ends[user + 1]):
            begin = indptr[history_items[at]]
            for place in range(begin, min(begin + top_k, indptr[history_items[at] + 1])):
                item = np.int64(neighbors[place])
                if not seen[item]:
                    seen[item] = True
                    touched[used] = item
                    used += 1
                sums[item] += scores[place]
        for at in range(history_ends[user], history_ends[user + 1]):
            sums[history_items[at]] = 0.0  # never recommended
        kept = 0
        for at in range(used):
            item = touched[at]
            value = np.float32(sums[item])
            sums[item] = 0.0
            seen[item] = False
            if not value > 0:
                continue
            if kept == cut and (value < values[cut - 1] or (value == values[cut - 1] and item > best[cut - 1])):
                continue
            place = min(kept, cut - 1)
            while place > 0 and (values[place - 1] < value or (values[place - 1] == value and best[place - 1] > item)):
                best[place], values[place] = best[place - 1], values[place - 1]
                place -= 1
            best[place], values[place] = item, value
            kept = min(kept + 1, cut)
        targets = held_items[held_ends[user] : held_ends[user + 1]]
        gained, hits = 0.0, 0
        for rank in range(kept):
            at = np.searchsorted(targets, best[rank])
            if at < len(targets) and targets[at] == best[rank]:
                gained += gains[rank]
                hits += 1
        ndcg[user] = gained / ideals[min(cut, len(targets))]
        recall[user] = hits / len(targets)
