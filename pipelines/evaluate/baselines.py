"""Fit the baselines that every candidate is compared with, on the train rows alone.

popularity    users of the item
cooccurrence  n_ij, users with both items: what a SQL self-join would recommend
cosine        n_ij / sqrt(n_i n_j)
rp3beta       sum over the users u of both of n_u^-alpha, over n_i^alpha n_j^beta, i the history item, n_u the items of
              u: a random walk item, user, item that prefers less popular ends (Paudel et al. 2017)
ease          the closed form of Steck 2019 (Embarrassingly Shallow Autoencoders): G = X'X, P = (G + lambda I)^-1,
              weights = -P_ij / P_jj off the diagonal, 0 on it

The three neighbor models keep NEIGHBORS per item, the default of batch_cf, so that they can be compared with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from pipelines.evaluate.dataset import Dataset
from pipelines.evaluate.rankers import EaseRanker, NeighborRanker, PopularityRanker, Ranker, popular_first
from transforms.ranking.ease import ease_weights
from transforms.ranking.lists import Lists, best_of_row
from transforms.ranking.metrics import columns, user_metrics

__all__ = [
    "BASELINES",
    "EASE_ITEMS",
    "LAMBDAS",
    "NEIGHBORS",
    "WALKS",
    "Walk",
    "ease",
    "nearest",
    "neighbor_baselines",
    "popularity",
    "rp3beta",
    "tuned_lambda",
    "tuned_walk",
    "walk_neighbors",
]

Float64s = npt.NDArray[np.float64]
Score = Callable[[int, npt.NDArray[np.int32], Float64s], Float64s]
"""Of one item with others, given the sums over their common users."""

BASELINES = ("popularity", "cooccurrence", "cosine", "rp3beta", "ease")
NEIGHBORS = 100
EASE_ITEMS = 20_000
"""Past this the dense inverse takes minutes and the weights alone 1.6 GB."""
LAMBDAS = (100.0, 250.0, 500.0, 1000.0, 2000.0)
TUNING_USERS = 2_000


@dataclasses.dataclass(frozen=True)
class Walk:
    """The exponents of rp3beta. The defaults are those of batch_cf."""

    alpha: float = 1.0
    beta: float = 0.6


WALKS = tuple(Walk(alpha, beta) for alpha in (0.5, 0.7, 1.0) for beta in (0.2, 0.35, 0.6, 0.8))
"""Around the best that validation found for batch_cf on Gowalla and mooc (beta .35) and its defaults."""
BLOCK_ITEMS = 1_000
"""Rows of X'X held at once; Gowalla's whole product has 84M entries, 1 GB."""


def popularity(dataset: Dataset) -> PopularityRanker:
    """Return a ranker that ranks the item with the most train users first."""
    return PopularityRanker(popular_first(dataset.item_users()))


def neighbor_baselines(dataset: Dataset) -> dict[str, Ranker]:
    """Fit cooccurrence and cosine in one pass over X'X."""
    return {name: _ranker(dataset, table) for name, table in nearest(dataset.train, NEIGHBORS).items()}


def rp3beta(dataset: Dataset, walk: Walk) -> Ranker:
    """Fit rp3beta with these exponents."""
    [table] = walk_neighbors(dataset.train, NEIGHBORS, walk.alpha, [walk.beta])
    return _ranker(dataset, table)


def nearest(train: sp.csr_array, k: int) -> dict[str, sp.csr_array]:
    """Find the k best neighbors of every item by cooccurrence and by cosine.

    Equal neighbors are ordered by the smaller index.

    Args:
        train: 0/1 [users, items].
        k: Number of neighbors.

    Returns:
        float64 CSR [items, items] by name, without a diagonal, columns in order.
    """
    users = _degrees(train.indices, train.shape[1])

    def cosine(item: int, others: npt.NDArray[np.int32], counts: Float64s) -> Float64s:
        scores: Float64s = counts / np.sqrt(users[item] * users[others])
        return scores

    tables = _tables(train, train, k, [lambda item, others, counts: counts, cosine])
    return dict(zip(("cooccurrence", "cosine"), tables, strict=True))


def walk_neighbors(train: sp.csr_array, k: int, alpha: float, betas: Sequence[float]) -> list[sp.csr_array]:
    """Find the k best neighbors of every item by rp3beta, for every beta in one pass.

    The result has one matrix per beta, otherwise as `nearest`.
    """
    users = _degrees(train.indices, train.shape[1])
    lengths = np.diff(train.indptr)
    steps = sp.csr_array(
        (np.repeat(np.maximum(lengths, 1).astype(np.float64) ** -alpha, lengths), train.indices, train.indptr),
        shape=train.shape,
    )

    def measure(beta: float) -> Score:
        ends = np.maximum(users, 1) ** beta
        return lambda item, others, sums: sums / (users[item] ** alpha * ends[others])

    return _tables(train, steps, k, [measure(beta) for beta in betas])


def ease(dataset: Dataset, strength: float) -> EaseRanker:
    """Fit EASE over the items of the train rows, lambda = strength."""
    users = dataset.item_users()
    known = np.flatnonzero(users > 0).astype(np.int32)
    return EaseRanker(ease_weights(dataset.train[:, known], strength), known, popular_first(users), len(users))


def tuned_lambda(dataset: Dataset, strengths: Sequence[float] = LAMBDAS, users: int = TUNING_USERS) -> float:
    """Find the strength with the best ndcg@100 on users held out of train (`_held_out`).

    Ties go to the first strength.
    """
    part = _held_out(dataset, users)
    return max(strengths, key=lambda strength: _quality(ease(part, strength), part)) if part else strengths[0]


def tuned_walk(dataset: Dataset, walks: Sequence[Walk] = WALKS, users: int = TUNING_USERS) -> Walk:
    """Find the exponents with the best ndcg@100 on users held out of train (`_held_out`).

    Ties go to the first exponents.
    """
    part = _held_out(dataset, users)
    if not part:
        return Walk()
    found: dict[Walk, float] = {}
    for alpha in dict.fromkeys(walk.alpha for walk in walks):
        same = [walk for walk in walks if walk.alpha == alpha]
        tables = walk_neighbors(part.train, NEIGHBORS, alpha, [walk.beta for walk in same])
        for walk, table in zip(same, tables, strict=True):
            found[walk] = _quality(_ranker(part, table), part)
    return max(walks, key=found.__getitem__)


def _held_out(dataset: Dataset, users: int) -> Dataset | None:
    """Return the dataset on which a baseline is tuned, None if no user has five items.

    Every k-th train user is held out. Four of each five items are the user's history, and the fifth is the target. The
    other users are the train rows. The holdout rows are not used.
    """
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
        return None
    place = np.full(len(held), -1, np.int64)
    place[asked] = np.arange(len(asked))
    shown = ~fifth & (place[user] >= 0)
    histories = Lists.from_pairs(place[user[shown]], rows.indices[shown], len(asked))
    targets = Lists.from_pairs(place[user[fifth]], rows.indices[fifth], len(asked))
    return Dataset(dataset.items, dataset.users, rest, histories, targets, dataset.counts)


def _quality(ranker: Ranker, part: Dataset) -> float:
    ranked, _ = ranker.rank(part.histories, 100)
    found = user_metrics(ranked, part.targets, len(part.items), [100])
    return float(found[:, columns([100]).index("ndcg@100")].mean())


def _ranker(dataset: Dataset, table: sp.csr_array) -> NeighborRanker:
    items = len(dataset.items)
    same = np.arange(items, dtype=np.int32)
    # An item that is not in train is unknown to the model.
    to_model = np.where(dataset.item_users() > 0, same, -1).astype(np.int32)
    return NeighborRanker(table, popular_first(dataset.item_users()), np.ones(items, np.bool_), to_model, same)


def _tables(train: sp.csr_array, weighted: sp.csr_array, k: int, scores: Sequence[Score]) -> list[sp.csr_array]:
    """Return for every score the k best neighbors of every item, scored from the sums X'W.

    weighted is W: the train matrix X with another value per user.
    """
    items = train.shape[1]
    picked: list[list[tuple[npt.NDArray[np.int32], Float64s]]] = [[] for _ in scores]
    for item, others, sums in _rows(train.T.tocsr(), weighted):
        for place, score in enumerate(scores):
            values = score(item, others, sums)
            best = best_of_row(others, values, k)
            best = best[np.argsort(others[best])]
            picked[place].append((others[best], values[best]))
    return [_stacked(rows, items) for rows in picked]


def _rows(by_item: sp.csr_array, weighted: sp.csr_array) -> Iterator[tuple[int, npt.NDArray[np.int32], Float64s]]:
    """Yield every item with the other items that share a user with it, and their sums."""
    for start in range(0, by_item.shape[0], BLOCK_ITEMS):
        block = (by_item[start : start + BLOCK_ITEMS] @ weighted).tocsr()
        for row in range(block.shape[0]):
            part = slice(block.indptr[row], block.indptr[row + 1])
            others, sums = block.indices[part], block.data[part]
            kept = others != start + row
            yield start + row, others[kept].astype(np.int32), sums[kept]


def _degrees(indices: npt.NDArray[np.int32], items: int) -> Float64s:
    return np.bincount(indices, minlength=items).astype(np.float64)


def _stacked(rows: list[tuple[npt.NDArray[np.int32], Float64s]], items: int) -> sp.csr_array:
    indptr = np.concatenate([[0], np.cumsum([len(columns) for columns, _ in rows], dtype=np.int64)])
    indices = np.concatenate([columns for columns, _ in rows]) if rows else np.empty(0, np.int32)
    data = np.concatenate([scores for _, scores in rows]) if rows else np.empty(0)
    return sp.csr_array((data, indices, indptr), shape=(items, items))
