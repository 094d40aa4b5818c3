"""Sample users by a hash, so that the sample does not depend on the order or the division of the input."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.hashing import siphash

__all__ = ["MOST_ROWS", "LogSize", "Share", "keep_users", "merge_sizes", "share_of", "size_of"]

MOST_ROWS = 1_000_000
"""Rows of the sample. Gowalla's 810,128 rows are taken whole."""
BUCKETS = 1024
_SALT = 0x5E1EC7
"""Makes the hash of the sample another one than the hash that divides users among shards and splits."""


class Share(NamedTuple):
    """The first buckets of users, and their share of all rows."""

    buckets: int
    share: float


@dataclasses.dataclass(frozen=True, eq=False)
class LogSize:
    """The size of some blocks.

    Args:
        rows: Rows by bucket of users, int64 [BUCKETS].
        items: Distinct item ids, string.
    """

    rows: npt.NDArray[np.int64]
    items: pa.StringArray


def size_of(block: pa.RecordBatch, seed: int) -> LogSize:
    """Return the size of a block."""
    rows = np.bincount(_buckets(block, seed), minlength=BUCKETS).astype(np.int64)
    return LogSize(rows, block.column("item_id").dictionary)


def merge_sizes(parts: Iterable[LogSize]) -> LogSize:
    """Merge the sizes of different blocks."""
    rows, items = np.zeros(BUCKETS, np.int64), [pa.array([], pa.string())]
    for part in parts:
        rows = rows + part.rows
        items.append(part.items)
    return LogSize(rows, pa.concat_arrays(items).unique())


def share_of(rows: npt.NDArray[np.int64], most_rows: int = MOST_ROWS) -> Share:
    """Return the most buckets whose rows stay within most_rows, at least one.

    Args:
        rows: Rows by bucket, int64 [BUCKETS].
        most_rows: Rows of the sample.

    Returns:
        The number of buckets, and their share of all rows, 1.0 for a log without rows.
    """
    ends = np.cumsum(rows)
    buckets = max(1, int(np.searchsorted(ends, most_rows, side="right")))
    return Share(buckets, float(ends[buckets - 1] / ends[-1]) if ends[-1] else 1.0)


def keep_users(block: pa.RecordBatch, share: Share, seed: int) -> pa.RecordBatch:
    """Return the rows of the users in the sample."""
    return block.filter(pa.array(_buckets(block, seed) < share.buckets))


def _buckets(block: pa.RecordBatch, seed: int) -> npt.NDArray[np.int64]:
    """Return the bucket of each row, int64 [rows]."""
    users = block.column("user_id")
    of_user = (siphash(users.dictionary, seed ^ _SALT) >> np.uint64(54)).astype(np.int64)
    buckets: npt.NDArray[np.int64] = of_user[users.indices.to_numpy()]
    return buckets
