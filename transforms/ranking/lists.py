"""What a ragged list of items per user is, as two plain arrays, and how to cut the best of a scored row.

It knows nothing of where histories come from, nor of what a score means.
"""

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
"""Marks a recommended item that is in neither the train nor the holdout rows: it takes a place and is never a hit."""


@dataclasses.dataclass(frozen=True, eq=False)
class Lists:
    """One list of item indices per user; user u owns items[indptr[u]:indptr[u + 1]].

    indptr: int64 [users + 1]; items: int32 [sum of lengths].
    """

    indptr: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, user: int) -> npt.NDArray[np.int32]:
        return self.items[self.indptr[user] : self.indptr[user + 1]]

    def lengths(self) -> npt.NDArray[np.int64]:
        """Items per user, int64 [users]."""
        return np.diff(self.indptr)

    def rows(self) -> npt.NDArray[np.int64]:
        """The user of every item, int64 [sum of lengths]."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths())

    def part(self, start: int, stop: int) -> Lists:
        """The lists of users start..stop-1."""
        indptr = self.indptr[start : stop + 1]
        return Lists(indptr - indptr[0], self.items[indptr[0] : indptr[-1]])

    def mapped(self, index: npt.NDArray[np.int32]) -> Lists:
        """The same lists in another numbering; items whose new index is negative are left out."""
        moved = index[self.items]
        keep = moved >= 0
        kept = np.concatenate([[0], np.cumsum(keep, dtype=np.int64)])
        return Lists(kept[self.indptr], moved[keep])

    def matrix(self, items: int) -> sp.csr_array:
        """A 0/1 matrix [users, items], float64."""
        ones = np.ones(len(self.items), np.float64)
        return sp.csr_array((ones, self.items, self.indptr), shape=(len(self), items))

    @staticmethod
    def of(lists: Sequence[Sequence[int]]) -> Lists:
        """From plain Python lists."""
        indptr = np.concatenate([[0], np.cumsum([len(one) for one in lists], dtype=np.int64)]).astype(np.int64)
        return Lists(indptr, np.array([item for one in lists for item in one], np.int32))

    @staticmethod
    def from_pairs(rows: npt.NDArray[np.int64], items: npt.NDArray[np.int32], users: int) -> Lists:
        """From (user, item) pairs already sorted by user."""
        counts = np.bincount(rows, minlength=users)
        return Lists(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), items.astype(np.int32, copy=False))


def best_of_row(columns: npt.NDArray[np.int32], scores: npt.NDArray[np.floating], k: int) -> npt.NDArray[np.int64]:
    """Positions of the k best scores, best first; equal scores by the smaller column.

    columns: int32 [n], the candidates' item indices, in any order; scores: [n], finite.
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
