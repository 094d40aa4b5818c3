"""Divide importance weights into bins whose edges are powers of two."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["BINS", "bin_of", "edge"]

BINS = 33
"""Bin 0 has weights of 0. Bin k has weights above 2^(k - 12), up to 2^(k - 11). The last one has no upper end."""
_ONE = 11


def bin_of(weight: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the bin of each weight, int64 [n]."""
    with np.errstate(divide="ignore"):
        power = np.ceil(np.log2(weight))
    return np.where(weight > 0, np.clip(power + _ONE, 1, BINS - 1), 0).astype(np.int64)


def edge(number: int) -> float:
    """Return the largest weight of a bin."""
    return 0.0 if number == 0 else 2.0 ** (number - _ONE) if number < BINS - 1 else float("inf")
