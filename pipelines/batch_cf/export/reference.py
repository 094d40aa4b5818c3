"""Recommend items from a neighbor table and explain the scores, with the served model's rules in plain numpy.

This module is for notebooks, reports and tests. It needs no TensorFlow and answers one history at a time. It follows
the rules of `graph`:

- Unknown ids are ignored. An item that occurs twice counts once, at its newest place.
- The score is the sum over the history of weight x s(history item, candidate), summed in float64, returned as float32.
- The weight is 2^-(p / recency_half_life), with p the number of counting items after this one. Without a half-life it
  is 1.
- An item whose score is not positive is not recommended.
- A history without a known id gets the popularity ranking. Ties are in the order of ids.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.batch_cf.table import NeighborTable
from transforms.models.assets import by_popularity
from transforms.ranking.arguments import checked_ids, checked_k

__all__ = ["explain", "recommend", "score_items"]


def recommend(
    table: NeighborTable,
    history: Sequence[str],
    k: int,
    exclude: Iterable[str] = (),
    *,
    recency_half_life: float | None = None,
) -> list[tuple[str, float]]:
    """Return the best items for a history with their scores, best first.

    Items of the history, items of `exclude` and items that are not available are never returned.

    Args:
        table: The item neighbors.
        history: Item ids, oldest first.
        k: Largest number of items.
        exclude: Item ids that must not be returned.
        recency_half_life: Places in the history after which an item counts half. None weighs all items alike.

    Returns:
        At most k pairs of item id and score. There are fewer if the neighbor lists hold fewer items (no backfill).

    Raises:
        TypeError: `history` or `exclude` is not a list of text, or `k` is not a whole number.
        ValueError: `k` is less than 1, or `recency_half_life` is not greater than 0.
    """
    k, exclude = checked_k(k), checked_ids(exclude, "exclude")
    owned, weights = _counting(table, history, recency_half_life)
    if len(owned):
        candidates, scores = _sums(table, owned, weights)
    else:
        order, by_item = by_popularity(table.users, table.available)
        candidates, scores = order.astype(np.int64), by_item[order]
    masked = np.concatenate([owned, _known(table, exclude)])
    keep = table.available[candidates] & ~np.isin(candidates, masked) & (scores > 0)
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
    """Return the score of each candidate.

    Owned and unavailable candidates are scored too.

    Args:
        table: The item neighbors.
        history: Item ids, oldest first.
        candidates: Item ids to score.
        recency_half_life: Places in the history after which an item counts half. None weighs all items alike.

    Returns:
        float32 [candidates]; -inf for an unknown candidate.

    Raises:
        TypeError: `history` or `candidates` is not a list of text.
        ValueError: `recency_half_life` is not greater than 0.
    """
    candidates = checked_ids(candidates, "candidates")
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
    """Return the owned items that contribute to the score of `item`, the largest contribution first.

    A contribution is negative if the owned item speaks against `item` (--similarity=ease). The contributions add up
    to the score, except where the score is popularity (no known id in the history).

    Args:
        table: The item neighbors.
        history: Item ids, oldest first.
        item: The scored item.
        recency_half_life: Places in the history after which an item counts half. None weighs all items alike.

    Returns:
        Pairs of owned item id and contribution, without items that contribute nothing. The list is empty if the
        history has no known id or if `item` is unknown.

    Raises:
        TypeError: `history` is not a list of text, or `item` is not text.
        ValueError: `recency_half_life` is not greater than 0.
    """
    if not isinstance(item, str):
        raise TypeError(f"item is {type(item).__name__}, not text; pass one item id")
    owned, weights = _counting(table, history, recency_half_life)
    wanted = _known(table, [item])
    parts = []
    for index, weight in zip(owned, weights, strict=True):
        row = slice(table.indptr[index], table.indptr[index + 1])
        score = table.scores[row][np.isin(table.neighbors[row], wanted)]
        parts += [(table.items[int(index)].as_py(), float(np.float32(part))) for part in score * weight]
    return sorted(parts, key=lambda part: -part[1])


def _counting(
    table: NeighborTable, history: Sequence[str], recency_half_life: float | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the history's items that count, oldest first, and their weights."""
    if recency_half_life is not None and not recency_half_life > 0.0:
        raise ValueError(f"recency_half_life is {recency_half_life}; pass None or a number greater than 0")
    newest_first = _known(table, checked_ids(history, "history"))[::-1]
    _, first = np.unique(newest_first, return_index=True)
    owned = newest_first[np.sort(first)][::-1]
    after = np.arange(len(owned))[::-1]
    weights = np.ones(len(owned)) if recency_half_life is None else 2.0 ** (-after / recency_half_life)
    return owned, weights


def _sums(
    table: NeighborTable, owned: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return all neighbors of the owned items, ascending, and the weighted sum of their scores."""
    rows = [slice(table.indptr[index], table.indptr[index + 1]) for index in owned]
    neighbors = np.concatenate([table.neighbors[row] for row in rows])
    values = np.concatenate([table.scores[row] * weight for row, weight in zip(rows, weights, strict=True)])
    related, group = np.unique(neighbors, return_inverse=True)
    return related.astype(np.int64), np.bincount(group, values, len(related)).astype(np.float32)


def _known(table: NeighborTable, ids: Iterable[str]) -> npt.NDArray[np.int64]:
    place = _places(table, ids)
    return place[place >= 0]


def _places(table: NeighborTable, ids: Iterable[str]) -> npt.NDArray[np.int64]:
    """Return the index of each id in the table, int64 [ids], -1 for an unknown id."""
    every = range(len(table.items))
    places = []
    for wanted in ids:  # a few bisections, where a hash table of all items would be built for every call
        place = bisect.bisect_left(every, wanted.encode(), key=lambda at: table.items[at].as_py().encode())
        places.append(place if place in every and table.items[place].as_py() == wanted else -1)
    return np.array(places, np.int64)
