"""Define every metric of one ranked list for one user, computed over blocks of users.

Relevance is binary. `hit(r)` means that the item at rank r (from 1) was held out. `held` is the number of items held
out for the user, including items that train never saw. All metrics have a cut-off k:

    recall          hits / min(k, held)                     1.0 is reachable for every user (Liang et al. 2018)
    recall_plain    hits / held                             the tables of LightGCN and BARS divide like this
    ndcg            sum over hits 1/log2(r+1), divided by the same sum for min(k, held) hits at the top
    map             sum over hits (hits up to r)/r, divided by min(k, held)
    mrr             1 / rank of the first hit, 0 without one
    hit_rate        1 if there is a hit
    list_shortfall  empty places / k: the fraction of the list that the model could not fill

`pipelines.evaluate` computes the averages.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from transforms.ranking.lists import EMPTY, Lists

__all__ = ["DENOMINATORS", "METRICS", "columns", "hits_of", "user_metrics"]

METRICS = ("ndcg", "recall", "recall_plain", "map", "mrr", "hit_rate", "list_shortfall")
"""Metrics in the order of the columns that `user_metrics` returns; each has one column per cut-off."""

DENOMINATORS = {
    "ndcg": "divided by the ideal list of min(k, held out) hits",
    "recall": "hits / min(k, held out)",
    "recall_plain": "hits / held out (the denominator of the LightGCN and BARS tables)",
    "map": "mean precision at the hits, divided by min(k, held out)",
    "mrr": "1 / rank of the first hit",
    "hit_rate": "share of users with at least one hit",
    "list_shortfall": "empty places / k",
}


def columns(ks: Sequence[int]) -> list[str]:
    """Return the column names of `user_metrics`: ndcg@20, ndcg@50, ..., list_shortfall@100."""
    return [f"{metric}@{k}" for metric in METRICS for k in ks]


def hits_of(ranked: npt.NDArray[np.int32], targets: Lists, items: int) -> npt.NDArray[np.bool_]:
    """Return whether each ranked place holds one of the user's targets.

    Args:
        ranked: Item indices, int32 [users, K]. Negative numbers are not items.
        targets: Held-out items, sorted within each user.
        items: Number of items.

    Returns:
        bool [users, K].
    """
    held_out = targets.rows() * items + targets.items
    asked = np.arange(len(ranked), dtype=np.int64)[:, None] * items + ranked
    if not len(held_out):
        return np.zeros(ranked.shape, np.bool_)
    place = np.minimum(np.searchsorted(held_out, asked), len(held_out) - 1)
    hits: npt.NDArray[np.bool_] = (held_out[place] == asked) & (ranked >= 0)
    return hits


def user_metrics(
    ranked: npt.NDArray[np.int32], targets: Lists, items: int, ks: Sequence[int]
) -> npt.NDArray[np.float64]:
    """Compute every metric at every cut-off for every user. Each row depends on that user alone.

    Args:
        ranked: Item indices, int32 [users, K], K >= max(ks), best first, no item twice, EMPTY after the last one.
        targets: Held-out items, sorted within each user, at least one per user.
        items: Number of items.
        ks: Cut-offs.

    Returns:
        float64 [users, METRICS x ks], with the columns of `columns(ks)`.
    """
    users, width = ranked.shape
    hits = hits_of(ranked, targets, items)
    held = targets.lengths()
    ranks = np.arange(1, width + 1, dtype=np.float64)
    discounts = 1.0 / np.log2(ranks + 1.0)
    gained = np.cumsum(hits * discounts, axis=1)
    ideal = np.cumsum(discounts)
    found = np.cumsum(hits, axis=1)
    precision = np.cumsum(np.where(hits, found / ranks, 0.0), axis=1)
    first = np.where(hits.any(axis=1), np.argmax(hits, axis=1) + 1, width + 1)
    filled = np.cumsum(ranked != EMPTY, axis=1)

    result = np.empty((users, len(METRICS), len(ks)), np.float64)
    for column, k in enumerate(ks):
        reachable = np.minimum(k, held)
        count = found[:, k - 1]
        result[:, 0, column] = gained[:, k - 1] / ideal[reachable - 1]
        result[:, 1, column] = count / reachable
        result[:, 2, column] = count / held
        result[:, 3, column] = precision[:, k - 1] / reachable
        result[:, 4, column] = np.where(first <= k, 1.0 / first, 0.0)
        result[:, 5, column] = first <= k
        result[:, 6, column] = 1.0 - filled[:, k - 1] / k
    return result.reshape(users, len(METRICS) * len(ks))
