"""Resample decisions, or users, without holding them: the Poisson bootstrap.

Each of the replicates counts a unit a Poisson(1) number of times. The number is a function of seed, replicate and unit,
so all decisions of a user count alike wherever they are processed, and sums of parts of the log add up.

Source: Chamandy et al., Estimating uncertainty for massive data streams, 2012. The generator is SplitMix64.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["REPLICATES", "replicate_sums"]

REPLICATES = 1_000
"""The ends of a 95% interval are then the 25th values from both ends."""

Float64s = npt.NDArray[np.float64]
Uint64s = npt.NDArray[np.uint64]

_CUMULATIVE = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(18)])
"""Chance of at most k. Beyond 17 it is less than 2^-53, the resolution of a draw."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@numba.njit(inline="always")
def _mix(z: np.uint64) -> np.uint64:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(inline="always")
def _count(state: np.uint64, cumulative: Float64s) -> int:
    u = np.float64(_mix(state) >> np.uint64(11)) * 2.0**-53
    k = 0
    while k < len(cumulative) and u >= cumulative[k]:
        k += 1
    return k


@numba.njit(cache=True, nogil=True)
def _sum(
    unit: Uint64s, columns: Float64s, bin_of: npt.NDArray[np.int64], binned: Float64s, seed: np.uint64,
    cumulative: Float64s, golden: np.uint64, out: Float64s,
) -> None:  # fmt: skip
    width = columns.shape[1]
    for i in range(len(unit)):
        state = _mix(unit[i] ^ seed)
        for b in range(out.shape[0]):
            state += golden
            k = _count(state, cumulative)
            if k:
                out[b, 0] += k
                for j in range(width):
                    out[b, 1 + j] += k * columns[i, j]
                out[b, 1 + width + bin_of[i]] += k * binned[i]


def replicate_sums(
    unit: Uint64s,
    columns: Float64s,
    bin_of: npt.NDArray[np.int64],
    binned: Float64s,
    bins: int,
    seed: int,
    replicates: int = REPLICATES,
) -> Float64s:
    """Sum columns over resampled decisions.

    Args:
        unit: Hash of the unit that each decision belongs to, uint64 [n].
        columns: float64 [n, c].
        bin_of: Bin of each decision, 0 to bins - 1, int64 [n].
        binned: A further column, which is summed by bin, float64 [n].
        bins: Number of bins.
        seed: Seed of the resampling, 0 to 2^64 - 1.
        replicates: Number of replicates.

    Returns:
        float64 [replicates, 1 + c + bins]: the number of decisions, the sums of the columns, and those of `binned`.
    """
    out = np.zeros((replicates, 1 + columns.shape[1] + bins))
    mixed = np.uint64((seed + 1) * int(_GOLDEN) % 2**64)
    _sum(unit, np.ascontiguousarray(columns), bin_of, binned, mixed, _CUMULATIVE, _GOLDEN, out)
    return out
