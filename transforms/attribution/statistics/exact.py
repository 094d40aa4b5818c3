"""Sums of float64 that do not depend on order: kept as integers times a power of two, rounded once when read.

Every float64 is an integer of at most 53 bits times a power of two, so adding integers per exponent loses nothing, and
what was added can be taken away again without a trace.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

__all__ = ["Exact", "exact_sums"]

_MANTISSA_BITS = 53
_LOW_BITS = 27  # sums of halves stay exact in float64 up to 2^26 rows
_MOST_CELLS = 1 << 21  # of a dense table of sums; beyond, the (group, exponent) pairs that occur are sorted out first


@dataclasses.dataclass(slots=True)
class Exact:
    """mantissa x 2^exponent, exactly."""

    mantissa: int = 0
    exponent: int = 0

    def add(self, other: Exact, sign: int = 1) -> None:
        """Add `other`, or with sign -1 take it away."""
        if not other.mantissa:
            return
        if not self.mantissa:
            self.mantissa, self.exponent = sign * other.mantissa, other.exponent
            return
        shift = other.exponent - self.exponent
        if shift >= 0:
            self.mantissa += sign * (other.mantissa << shift)
        else:
            self.mantissa = (self.mantissa << -shift) + sign * other.mantissa
            self.exponent = other.exponent

    def scaled(self, power: int) -> Exact:
        """Return this number times 2^power."""
        return Exact(self.mantissa, self.exponent + power) if self.mantissa else Exact()

    def to_float(self) -> float:
        """Round to the nearest float64, ties to even. A number beyond float64 is infinite."""
        bits = self.mantissa.bit_length() + self.exponent
        if bits > 1100:
            return float("inf") if self.mantissa > 0 else float("-inf")
        if bits < -1200:
            return 0.0
        if self.exponent >= 0:
            return float(self.mantissa << self.exponent)
        return self.mantissa / (1 << -self.exponent)

    def cut_below(self, exponent: int) -> None:
        """Drop bits below 2^exponent, so that sums over years do not grow for ever."""
        if self.mantissa and self.exponent < exponent:
            self.mantissa >>= exponent - self.exponent
            self.exponent = exponent

    def to_state(self) -> list[str | int]:
        """As JSON; equal sums give equal values."""
        if not self.mantissa:
            return ["0", 0]
        zeros = (self.mantissa & -self.mantissa).bit_length() - 1
        return [format(self.mantissa >> zeros, "x"), self.exponent + zeros]

    @classmethod
    def from_state(cls, state: list[str | int]) -> Exact:
        """Read what `to_state` wrote."""
        mantissa, exponent = state
        return cls(int(str(mantissa), 16), int(exponent))


def exact_sums(values: npt.NDArray[np.float64], groups: npt.NDArray[np.int64], count: int) -> dict[int, Exact]:
    """Sum the values [n] of each group exactly. Groups [n] are 0 to count - 1. Zeros are skipped.

    Values are finite.
    """
    sums: dict[int, Exact] = {}
    nonzero = values != 0
    if not nonzero.all():
        values, groups = values[nonzero], groups[nonzero]
    if not len(values):
        return sums
    fractions, exponents = np.frexp(values)
    mantissas = np.ldexp(fractions, _MANTISSA_BITS).astype(np.int64)
    lowest = int(exponents.min())
    span = int(exponents.max()) - lowest + 1
    cells = groups * span + (exponents - lowest)
    if count * span > _MOST_CELLS:
        present, cells = np.unique(cells, return_inverse=True)
    else:
        present = np.arange(count * span)
    high = np.bincount(cells, (mantissas >> _LOW_BITS).astype(np.float64), len(present))
    low = np.bincount(cells, (mantissas & ((1 << _LOW_BITS) - 1)).astype(np.float64), len(present))
    for at in np.flatnonzero((high != 0) | (low != 0)).tolist():
        group, step = divmod(int(present[at]), span)
        mantissa = (int(high[at]) << _LOW_BITS) + int(low[at])
        sums.setdefault(group, Exact()).add(Exact(mantissa, lowest + step - _MANTISSA_BITS))
    return sums
