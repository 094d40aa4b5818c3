"""Hold ragged lists of items per user in two arrays, and choose the best items of a scored row."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

__all__ = ["EMPTY", "FOREIGN", "Lists", "best_of_row"]

EMPTY = -1
"""Marks an unused place at the end of a ranked list."""
FOREIGN = -2
"""Marks a recommended item that no train or holdout row has. It takes a place and is never a hit."""


@dataclasses.dataclass(frozen=True, eq=False)
class Lists:
    """One list of item indices per user. User u has items[indptr[u]:indptr[u + 1]].

    Attributes:
        indptr: int64 [users + 1].
        items: int32 [sum of lengths].
    """

    indptr: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, user: int) -> npt.NDArray[np.int32]:
        return self.items[self.indptr[user] : self.indptr[user + 1]]

    def lengths(self) -> npt.NDArray[np.int64]:
        """Return the number of items per user, int64 [users]."""
        return np.diff(self.indptr)

    def rows(self) -> npt.NDArray[np.int64]:
        """Return the user of every item, int64 [sum of lengths]."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths())

    def part(self, start: int, stop: int) -> Lists:
        """Return the lists of users start to stop - 1."""
        indptr = self.indptr[start : stop + 1]
        return Lists(indptr - indptr[0], self.items[indptr[0] : indptr[-1]])

    def mapped(self, index: npt.NDArray[np.int32]) -> Lists:
        """Return the lists in another numbering. Items whose new index is negative are left out."""
        moved = index[self.items]
        keep = moved >= 0
        kept = np.concatenate([[0], np.cumsum(keep, dtype=np.int64)])
        return Lists(kept[self.indptr], moved[keep])

    def matrix(self, items: int) -> sp.csr_array:
        """Return the lists as a 0/1 matrix, float64 [users, items]."""
        ones = np.ones(len(self.items), np.float64)
        return sp.csr_array((ones, self.items, self.indptr), shape=(len(self), items))

    @staticmethod
    def of(lists: Sequence[Sequence[int]]) -> Lists:
        """Build the lists from Python lists."""
        indptr = np.concatenate([[0], np.cumsum([len(one) for one in lists], dtype=np.int64)]).astype(np.int64)
        return Lists(indptr, np.array([item for one in lists for item in one], np.int32))

    @staticmethod
    def from_pairs(rows: npt.NDArray[np.int64], items: npt.NDArray[np.int32], users: int) -> Lists:
        """Build the lists from (user, item) pairs that are sorted by user."""
        counts = np.bincount(rows, minlength=users)
        return Lists(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), items.astype(np.int32, copy=False))


def best_of_row(columns: npt.NDArray[np.int32], scores: npt.NDArray[np.floating], k: int) -> npt.NDArray[np.int64]:
    """Return the positions of the k best scores, best first. Equal scores are ordered by column.

    Args:
        columns: Item indices of the candidates in any order, int32 [n].
        scores: Finite scores, [n].
        k: How many positions to return, at most.
    """
    if len(scores) > k:
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        above = np.flatnonzero(scores > threshold)
        level = np.flatnonzero(scores == threshold)
        level = level[np.argsort(columns[level], kind="stable")][: k - len(above)]
        kept = np.concatenate([above, level])
    else:
        kept = np.arange(len(scores))
    return kept[np.lexsort((columns[kept], -scores[kept]))]
