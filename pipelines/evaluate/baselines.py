"""Which simple models stand beside every candidate, fitted on the train rows alone.

popularity    users of the item
cooccurrence  n_ij, users with both items: what a SQL self-join would recommend
cosine        n_ij / sqrt(n_i n_j)
ease          the closed form of Steck 2019 (Embarrassingly Shallow Autoencoders): G = X'X, P = (G + lambda I)^-1,
              weights = -P_ij / P_jj off the diagonal, 0 on it

The two neighbor models keep NEIGHBORS per item, the default of batch_cf, so that they compare like with like.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from pipelines.evaluate.dataset import Dataset
from pipelines.evaluate.rankers import EaseRanker, NeighborRanker, PopularityRanker, Ranker, popular_first
from transforms.ease import ease_weights
from transforms.ranking.lists import Lists, best_of_row
from transforms.ranking.metrics import columns, user_metrics

__all__ = [
    "BASELINES",
    "EASE_ITEMS",
    "LAMBDAS",
    "ease",
    "nearest",
    "neighbor_baselines",
    "popularity",
    "tuned_lambda",
]

BASELINES = ("popularity", "cooccurrence", "cosine", "ease")
NEIGHBORS = 100
EASE_ITEMS = 20_000
"""Past this the dense inverse takes minutes and the weights alone 1.6 GB."""
LAMBDAS = (100.0, 250.0, 500.0, 1000.0, 2000.0)
TUNING_USERS = 2_000
BLOCK_ITEMS = 1_000
"""Rows of X'X held at once; Gowalla's whole product has 84M entries, 1 GB."""


def popularity(dataset: Dataset) -> PopularityRanker:
    """Most train users first."""
    return PopularityRanker(popular_first(dataset.item_users()))


def neighbor_baselines(dataset: Dataset) -> dict[str, Ranker]:
    """cooccurrence and cosine, from one pass over X'X."""
    tables = nearest(dataset.train, NEIGHBORS)
    items = len(dataset.items)
    order = popular_first(dataset.item_users())
    same = np.arange(items, dtype=np.int32)
    # An item that train never saw is not known to the model.
    to_model = np.where(dataset.item_users() > 0, same, -1).astype(np.int32)
    everything = np.ones(items, np.bool_)
    return {name: NeighborRanker(table, order, everything, to_model, same) for name, table in tables.items()}


def nearest(train: sp.csr_array, k: int) -> dict[str, sp.csr_array]:
    """The k best neighbors of every item by cooccurrence and by cosine, equal ones by the smaller index.

    train: 0/1 [users, items]. Returns float64 CSR [items, items] without a diagonal, columns in order.
    """
    items = train.shape[1]
    by_item = train.T.tocsr()
    users = np.diff(by_item.indptr).astype(np.float64)
    picked: dict[str, list[tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]]] = {"cooccurrence": [], "cosine": []}
    for start in range(0, items, BLOCK_ITEMS):
        block = (by_item[start : start + BLOCK_ITEMS] @ train).tocsr()
        for row in range(block.shape[0]):
            item = start + row
            part = slice(block.indptr[row], block.indptr[row + 1])
            others = block.indices[part]
            counts = block.data[part]
            kept = others != item
            others, counts = others[kept].astype(np.int32), counts[kept]
            cosine = counts / np.sqrt(users[item] * users[others])
            for name, scores in (("cooccurrence", counts), ("cosine", cosine)):
                best = best_of_row(others, scores, k)
                best = best[np.argsort(others[best])]
                picked[name].append((others[best], scores[best]))
    return {name: _stacked(rows, items) for name, rows in picked.items()}


def ease(dataset: Dataset, strength: float) -> EaseRanker:
    """EASE over the items that train knows, lambda = strength."""
    users = dataset.item_users()
    known = np.flatnonzero(users > 0).astype(np.int32)
    return EaseRanker(ease_weights(dataset.train[:, known], strength), known, popular_first(users), len(users))


def tuned_lambda(dataset: Dataset, strengths: Sequence[float] = LAMBDAS, users: int = TUNING_USERS) -> float:
    """The strength with the best ndcg@100 on users held out of train: every k-th train user is shown four of each five
    of its items and the fifth is asked for; the holdout rows are not looked at. Ties go to the smaller strength."""
    train = dataset.train
    total = train.shape[0]
    step = max(5, -(-total // users))
    held = np.arange(0, total, step)
    rest = train[np.setdiff1d(np.arange(total), held)]
    rows = train[held]
    fifth = (np.arange(rows.nnz) - np.repeat(rows.indptr[:-1], np.diff(rows.indptr))) % 5 == 4
    user = np.repeat(np.arange(len(held), dtype=np.int64), np.diff(rows.indptr))
    asked = np.flatnonzero(np.bincount(user[fifth], minlength=len(held)))
    if not len(asked):
        return strengths[0]
    place = np.full(len(held), -1, np.int64)
    place[asked] = np.arange(len(asked))
    shown = ~fifth & (place[user] >= 0)
    histories = Lists.from_pairs(place[user[shown]], rows.indices[shown], len(asked))
    targets = Lists.from_pairs(place[user[fifth]], rows.indices[fifth], len(asked))
    part = Dataset(dataset.items, dataset.users, rest, histories, targets, dataset.counts)
    column = columns([100]).index("ndcg@100")

    def quality(strength: float) -> float:
        ranked, _ = ease(part, strength).rank(histories, 100)
        return float(user_metrics(ranked, targets, len(dataset.items), [100])[:, column].mean())

    return max(strengths, key=quality)


def _stacked(rows: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]], items: int) -> sp.csr_array:
    indptr = np.concatenate([[0], np.cumsum([len(columns) for columns, _ in rows], dtype=np.int64)])
    indices = np.concatenate([columns for columns, _ in rows]) if rows else np.empty(0, np.int32)
    data = np.concatenate([scores for _, scores in rows]) if rows else np.empty(0)
    return sp.csr_array((data, indices, indptr), shape=(items, items))
