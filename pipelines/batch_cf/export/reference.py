"""Which items a neighbor table recommends for a history, and why: the served model's scoring in plain numpy.

For notebooks, reports and tests; it needs no TensorFlow and answers one history at a time. The rules, here as in
`graph`: unknown ids are ignored; an item that occurs twice counts once, at its newest place; the score is the sum over
the history of weight x s(history item, candidate), summed in float64 and returned as float32; weight is
2^-(p / recency_half_life) with p the number of counting items after this one, or 1 without a half-life; a history
without a known id gets the popularity ranking; ties are in the order of ids.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.batch_cf.table import NeighborTable
from transforms.models.assets import by_popularity

__all__ = ["explain", "recommend", "score_items"]


def recommend(
    table: NeighborTable,
    history: Sequence[str],
    k: int,
    exclude: Iterable[str] = (),
    *,
    recency_half_life: float | None = None,
) -> list[tuple[str, float]]:
    """The best items for a history (oldest first) and their scores, best first, at most k.

    Never an item of the history, of `exclude`, or one that is not available; fewer than k where the neighbor lists
    hold no more (no backfill).
    """
    owned, weights = _counting(table, history, recency_half_life)
    if len(owned):
        candidates, scores = _sums(table, owned, weights)
    else:
        order, by_item = by_popularity(table.users, table.available)
        candidates, scores = order.astype(np.int64), by_item[order]
    masked = np.concatenate([owned, _known(table, exclude)])
    keep = table.available[candidates] & ~np.isin(candidates, masked)
    candidates, scores = candidates[keep], scores[keep]
    best = np.lexsort((candidates, -scores))[:k]
    names = table.items.take(pa.array(candidates[best])).to_pylist()
    return list(zip(names, scores[best].tolist(), strict=True))


def score_items(
    table: NeighborTable,
    history: Sequence[str],
    candidates: Sequence[str],
    *,
    recency_half_life: float | None = None,
) -> npt.NDArray[np.float32]:
    """float32 [m]: the score of each candidate, owned or not, available or not; -inf for an unknown one."""
    owned, weights = _counting(table, history, recency_half_life)
    by_item = by_popularity(table.users, table.available)[1]
    if len(owned):
        related, sums = _sums(table, owned, weights)
        by_item = np.zeros(len(table.items), np.float32)
        by_item[related] = sums
    place = _places(table, candidates)
    return np.where(place < 0, np.float32(-np.inf), by_item[place])


def explain(
    table: NeighborTable, history: Sequence[str], item: str, *, recency_half_life: float | None = None
) -> list[tuple[str, float]]:
    """Which owned items contribute how much to the score of `item`: the largest first, those without a share left out.

    The contributions add up to the score, except where that is popularity (no known id in the history): then nothing
    owned contributes and the list is empty, as it is for an unknown item.
    """
    owned, weights = _counting(table, history, recency_half_life)
    wanted = _known(table, [item])
    shares = []
    for index, weight in zip(owned, weights, strict=True):
        row = slice(table.indptr[index], table.indptr[index + 1])
        score = table.scores[row][np.isin(table.neighbors[row], wanted)]
        shares += [(table.items[int(index)].as_py(), float(np.float32(share))) for share in score * weight]
    return sorted(shares, key=lambda share: -share[1])


def _counting(
    table: NeighborTable, history: Sequence[str], recency_half_life: float | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The history's items that count, oldest first, and their weights."""
    newest_first = _known(table, history)[::-1]
    _, first = np.unique(newest_first, return_index=True)
    owned = newest_first[np.sort(first)][::-1]
    after = np.arange(len(owned))[::-1]
    weights = np.ones(len(owned)) if recency_half_life is None else 2.0 ** (-after / recency_half_life)
    return owned, weights


def _sums(
    table: NeighborTable, owned: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """All neighbors of the owned items, ascending, and the weighted sum of their scores."""
    rows = [slice(table.indptr[index], table.indptr[index + 1]) for index in owned]
    neighbors = np.concatenate([table.neighbors[row] for row in rows])
    values = np.concatenate([table.scores[row] * weight for row, weight in zip(rows, weights, strict=True)])
    related, group = np.unique(neighbors, return_inverse=True)
    return related.astype(np.int64), np.bincount(group, values, len(related)).astype(np.float32)


def _known(table: NeighborTable, ids: Iterable[str]) -> npt.NDArray[np.int64]:
    place = _places(table, ids)
    return place[place >= 0]


def _places(table: NeighborTable, ids: Iterable[str]) -> npt.NDArray[np.int64]:
    """int64 [ids], the index of each id in the table, -1 for an unknown one."""
    every = range(len(table.items))
    places = []
    for wanted in ids:  # a few bisections, where a hash table of all items would be built for every call
        place = bisect.bisect_left(every, wanted.encode(), key=lambda at: table.items[at].as_py().encode())
        places.append(place if place in every and table.items[place].as_py() == wanted else -1)
    return np.array(places, np.int64)
