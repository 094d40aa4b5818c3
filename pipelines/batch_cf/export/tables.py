"""How a neighbor table is laid out for serving: rows by neighbor, items by popularity. Arrays only, no TensorFlow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from pipelines.batch_cf.table import NeighborTable

__all__ = ["popularity", "sort_rows"]


def sort_rows(table: NeighborTable) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Neighbors and scores of the table with every row in ascending order of the neighbor's index."""
    items = len(table.items)
    rows = csr_array((table.scores, table.neighbors, table.indptr), shape=(items, items)).sorted_indices()
    return rows.indices.astype(np.int32), rows.data


def popularity(table: NeighborTable) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The available items, most users first, and every item's popularity score.

    The score is the number of users as float32: a count that a person can read. It is compared as published, so
    items whose scores are equal (from 2^24 users, nearly equal) are in the order of their ids.
    """
    scores = table.users.astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    return order[table.available[order]].astype(np.int32), scores
