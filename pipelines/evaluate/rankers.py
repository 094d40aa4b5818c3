"""Rank items for histories, with one class per kind of model. Every class has the method `rank`.

A list never holds an item of the history and is not filled up with other items. A history without an item that the
model has gets the model's popularity ranking, as the served signature answers. Equal scores rank by UTF-8 order of the
item ids.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from transforms.ranking.arguments import checked_k
from transforms.ranking.lists import EMPTY, FOREIGN, Lists, best_of_row

__all__ = ["EaseRanker", "NeighborRanker", "PopularityRanker", "Ranker", "ServedRanker", "popular_first", "without"]


class Ranker(Protocol):
    """The interface of a model in the evaluation."""

    def rank(self, histories: Lists, k: int) -> tuple[npt.NDArray[np.int32], int]:
        """Rank items for every history.

        Args:
            histories: The users' histories.
            k: Length of a list.

        Returns:
            Item indices int32 [users, k], best first, EMPTY behind the last. The number of places that were taken back
            because the model returned an item of the history or the same item twice.

        Raises:
            ValueError: `k` is less than 1.
        """
        ...


def popular_first(users: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Return the items with at least one user as int32, most users first, then by index."""
    order = np.argsort(-users, kind="stable").astype(np.int32)
    return order[: int((users > 0).sum())]


@dataclasses.dataclass(frozen=True, eq=False)
class PopularityRanker:
    """Rank the same list for every user, without the user's own items. order: int32, best first."""

    order: npt.NDArray[np.int32]

    def rank(self, histories: Lists, k: int) -> tuple[npt.NDArray[np.int32], int]:
        """Rank as `Ranker.rank`."""
        checked_k(k)
        ranked = np.full((len(histories), k), EMPTY, np.int32)
        for user in range(len(histories)):
            ranked[user] = _popular(self.order, histories[user], k)
        return ranked, 0


@dataclasses.dataclass(frozen=True, eq=False)
class NeighborRanker:
    """Rank neighbors of the history: score(item) = sum over the history of s(history item, item).

    Args:
        similarities: float64 [model items, model items], row = history item, canonical CSR. A stored 0.0 is a neighbor.
        order: The model's popularity ranking.
        available: bool [model items], which items may be recommended.
        to_model: Index of each data item in the model, -1 for none.
        to_data: Index of each model item in the data, FOREIGN for none.
    """

    similarities: sp.csr_array
    order: npt.NDArray[np.int32]
    available: npt.NDArray[np.bool_]
    to_model: npt.NDArray[np.int32]
    to_data: npt.NDArray[np.int32]

    def rank(self, histories: Lists, k: int) -> tuple[npt.NDArray[np.int32], int]:
        """Rank as `Ranker.rank`."""
        checked_k(k)
        known = histories.mapped(self.to_model)
        scores = known.matrix(self.similarities.shape[0]) @ self.similarities
        ranked = np.full((len(histories), k), EMPTY, np.int32)
        allowed = self.available.copy()
        for user in range(len(histories)):
            history = known[user]
            if not len(history):
                ranked[user] = _popular(self.order, history, k)
                continue
            row = slice(scores.indptr[user], scores.indptr[user + 1])
            columns, values = scores.indices[row], scores.data[row]
            allowed[history] = False
            keep = allowed[columns]
            allowed[history] = self.available[history]
            columns, values = columns[keep], values[keep]
            best = columns[best_of_row(columns, values, k)]
            ranked[user, : len(best)] = best
        return np.where(ranked >= 0, self.to_data[ranked], ranked).astype(np.int32), 0


@dataclasses.dataclass(frozen=True, eq=False)
class EaseRanker:
    """Rank by history times weights.

    Args:
        weights: float32 [known items, known items].
        known: int32 [known items], indices in the data of the items that train has.
        order: The popularity ranking in the data's indices.
    """

    weights: npt.NDArray[np.float32]
    known: npt.NDArray[np.int32]
    order: npt.NDArray[np.int32]
    items: int

    def rank(self, histories: Lists, k: int) -> tuple[npt.NDArray[np.int32], int]:
        """Rank as `Ranker.rank`."""
        checked_k(k)
        to_model = np.full(self.items, -1, np.int32)
        to_model[self.known] = np.arange(len(self.known), dtype=np.int32)
        known = histories.mapped(to_model)
        scores = known.matrix(len(self.known)).astype(np.float32) @ self.weights  # row by row: no block-size effects
        scores[known.rows(), known.items] = -np.inf
        all_columns = np.arange(len(self.known), dtype=np.int32)
        ranked = np.full((len(histories), k), EMPTY, np.int32)
        for user in range(len(histories)):
            if not len(known[user]):
                ranked[user] = _popular(self.order, histories[user], k)
                continue
            row = scores[user]
            best = best_of_row(all_columns, row, k)
            best = best[row[best] > -np.inf]
            ranked[user, : len(best)] = self.known[best]
        return ranked, 0


@dataclasses.dataclass(frozen=True, eq=False)
class ServedRanker:
    """Rank with a servable signature: history string [batch, n] -> items string [batch, K], best first.

    Lists longer than k are cut. Places with items of the history, or with repeated items, are taken back.

    Args:
        signature: Takes an array of bytes objects [batch, n] padded with b"" and returns item ids, bytes [batch, K].
        items: The data's items.
    """

    signature: Any
    items: pa.StringArray
    batch: int = 128  # a dense [batch, items] of logits at 41k items is 21 MB

    def rank(self, histories: Lists, k: int) -> tuple[npt.NDArray[np.int32], int]:
        """Rank as `Ranker.rank`."""
        checked_k(k)
        ids = np.array([id_.encode() for id_ in self.items.to_pylist()] + [b""], object)
        parts = []
        for start in range(0, len(histories), self.batch):
            part = histories.part(start, min(start + self.batch, len(histories)))
            parts.append(self._indices(self.signature(_padded(part, ids))))
        width = max((block.shape[1] for block in parts), default=0)
        ranked = np.full((len(histories), width), EMPTY, np.int32)
        for number, block in enumerate(parts):
            ranked[number * self.batch : number * self.batch + len(block), : block.shape[1]] = block
        cleaned, removed = without(ranked, histories)
        result = np.full((len(histories), k), EMPTY, np.int32)
        result[:, : min(k, width)] = cleaned[:, :k]
        return result, removed

    def _indices(self, ids: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        flat = pa.array(ids.reshape(-1).tolist(), pa.binary()).cast(pa.string())
        index = pc.index_in(flat, value_set=self.items).fill_null(FOREIGN).to_numpy(zero_copy_only=False)
        empty = pc.equal(flat, "").to_numpy(zero_copy_only=False)
        return np.where(empty, EMPTY, index).astype(np.int32).reshape(ids.shape)


def without(ranked: npt.NDArray[np.int32], histories: Lists) -> tuple[npt.NDArray[np.int32], int]:
    """Remove items of the history and repeated items from lists, and move the rest up.

    Items outside the data (FOREIGN) cannot be told apart and are kept.

    Returns:
        The lists, and the number of removed places.
    """
    result = np.full(ranked.shape, EMPTY, np.int32)
    removed = 0
    for user, row in enumerate(ranked):
        row = row[row != EMPTY]
        first = np.zeros(len(row), np.bool_)
        first[np.unique(row, return_index=True)[1]] = True
        keep = (first & ~np.isin(row, histories[user])) | (row == FOREIGN)
        kept = row[keep]
        removed += len(row) - len(kept)
        result[user, : len(kept)] = kept
    return result, removed


def _popular(order: npt.NDArray[np.int32], history: npt.NDArray[np.int32], k: int) -> npt.NDArray[np.int32]:
    head = order[: k + len(history)]
    if len(history):
        head = head[~np.isin(head, history)]
    result = np.full(k, EMPTY, np.int32)
    result[: min(k, len(head))] = head[:k]
    return result


def _padded(histories: Lists, ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
    lengths = histories.lengths()
    width = max(1, int(lengths.max(initial=0)))
    index = np.full((len(histories), width), -1, np.int64)
    index[np.arange(width)[None, :] < lengths[:, None]] = histories.items
    return ids[index]
