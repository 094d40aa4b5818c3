"""Apply a function of k arms to each row of arrays with leading dimensions, which only a simulation has."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from serving_client.policies.statistics import Float64s

__all__ = ["each_row"]


def each_row(function: Callable[..., Float64s], *arrays: Float64s) -> Float64s:
    """Return the function's results for all rows.

    Args:
        function: Takes a row, float64 [k], of each array. It returns float64 [k].
        arrays: float64 [..., k], of one shape.

    Returns:
        float64 [..., k].
    """
    if arrays[0].ndim == 1:
        return function(*arrays)
    result = np.empty(arrays[0].shape)
    for at in np.ndindex(arrays[0].shape[:-1]):
        result[at] = function(*(array[at] for array in arrays))
    return result
