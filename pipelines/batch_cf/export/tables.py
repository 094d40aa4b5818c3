"""Lay out a neighbor table for serving: rows sorted by neighbor. This module needs no TensorFlow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from pipelines.batch_cf.table import NeighborTable

__all__ = ["sort_rows"]


def sort_rows(table: NeighborTable) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return the table's neighbors and scores with every row in ascending order of the neighbor's index."""
    items = len(table.items)
    rows = csr_array((table.scores, table.neighbors, table.indptr), shape=(items, items)).sorted_indices()
    return rows.indices.astype(np.int32), rows.data
