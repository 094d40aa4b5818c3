"""Hold user histories as a sparse matrix in two orders, by user and by item.

`encoding` makes the histories. This module joins and transposes them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse

__all__ = ["HistoryMatrix", "ItemMajor", "concatenate", "pair_work", "transpose"]


@dataclasses.dataclass(frozen=True, eq=False)
class HistoryMatrix:
    """Users by items in CSR form. A row is a user with strictly ascending item indices.

    Args:
        indptr: int64 [users + 1].
        items: uint32 [entries].
        weights: float64 [entries], greater than 0, or None if all are 1.
    """

    indptr: npt.NDArray[np.int64]
    items: npt.NDArray[np.uint32]
    weights: npt.NDArray[np.float64] | None = None

    @property
    def users(self) -> int:
        """Return the number of users."""
        return len(self.indptr) - 1

    @property
    def nbytes(self) -> int:
        """Return the size of the arrays in bytes."""
        return self.indptr.nbytes + self.items.nbytes + (0 if self.weights is None else self.weights.nbytes)


@dataclasses.dataclass(frozen=True, eq=False)
class ItemMajor:
    """The same matrix by item: item i's users are users[indptr[i]:indptr[i + 1]], ascending.

    Args:
        places: int64 [entries], the place of each entry in the user-major arrays. None without weights.
    """

    indptr: npt.NDArray[np.int64]
    users: npt.NDArray[np.uint32]
    places: npt.NDArray[np.int64] | None


def concatenate(parts: Sequence[HistoryMatrix]) -> HistoryMatrix:
    """Join all users of all parts, in the order of the parts. Weights of None count as 1."""
    if not parts:
        return HistoryMatrix(np.zeros(1, np.int64), np.zeros(0, np.uint32))
    ends = np.cumsum([0] + [len(part.items) for part in parts])
    indptr = np.concatenate([parts[0].indptr[:1]] + [p.indptr[1:] + e for p, e in zip(parts, ends[:-1], strict=True)])
    items = np.concatenate([part.items for part in parts])
    if all(part.weights is None for part in parts):
        return HistoryMatrix(indptr, items)
    weights = [np.ones(len(part.items)) if part.weights is None else part.weights for part in parts]
    return HistoryMatrix(indptr, items, np.concatenate(weights))


def transpose(histories: HistoryMatrix, items: int) -> ItemMajor:
    """Turn a user-major matrix into an item-major one.

    Args:
        histories: The user-major matrix.
        items: Number of columns.

    Returns:
        The item-major matrix.
    """
    shape = (histories.users, items)
    weighted = histories.weights is not None
    data = np.arange(len(histories.items), dtype=np.int64) if weighted else np.zeros(len(histories.items), np.int8)
    by_user = scipy.sparse.csr_array((data, histories.items, histories.indptr), shape=shape)
    by_item = by_user.tocsc()
    return ItemMajor(
        by_item.indptr.astype(np.int64), by_item.indices.astype(np.uint32), by_item.data if weighted else None
    )


def pair_work(histories: HistoryMatrix) -> int:
    """Return the number of multiply-adds that all pairs of the histories cost: the sum of squared lengths."""
    lengths = np.diff(histories.indptr)
    return int(lengths @ lengths)
