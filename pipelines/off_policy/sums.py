"""Sums over weighed decisions from which every estimate and interval follows. Sums of blocks add up."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from pipelines.off_policy.bootstrap import REPLICATES, replicate_sums
from pipelines.off_policy.weighing import Weighed
from pipelines.off_policy.weight_bins import BINS, bin_of

__all__ = ["ARM_COLUMNS", "BIN_COLUMNS", "HOUR_COLUMNS", "MOMENTS", "Sums", "sums_of"]

K = TypeVar("K", int, str)
Float64s = npt.NDArray[np.float64]

MOMENTS = ("n", "r", "rr", "w", "ww", "wr", "wwr", "wwrr", "b", "bb", "unsupported")
"""w is the weight, r the reward, b the expected reward of the target. Letters side by side are multiplied."""
BIN_COLUMNS = ("n", "w", "c", "bc", "cc", "mass")
"""c = w (r - q) is the correction of the expected reward q of the drawn arm. mass is the target's, see Weighed."""
HOUR_COLUMNS = ("n", "r", "w", "ww", "wr", "unsupported")
ARM_COLUMNS = ("n", "r", "w", "mass", "unsupported")

_HOUR_US = 3_600_000_000


@dataclasses.dataclass(slots=True, eq=False)
class Sums:
    """Sums over decisions.

    Args:
        moments: float64 [MOMENTS].
        bins: By weight, float64 [BINS, BIN_COLUMNS].
        replicates: Sums over resampled decisions, float64 [replicates, 5 + BINS]: n, r, w, wr, b, and c by bin.
        hours: By hour since 1970, float64 [HOUR_COLUMNS] each.
        arms: By arm, float64 [ARM_COLUMNS] each.
        most_weight: Largest weight.
        bound: Largest weight that a decision could have had.
    """

    moments: Float64s
    bins: Float64s
    replicates: Float64s
    hours: dict[int, Float64s]
    arms: dict[str, Float64s]
    most_weight: float
    bound: float

    def moment(self, name: str) -> float:
        """Return a sum of MOMENTS."""
        return float(self.moments[MOMENTS.index(name)])

    def plus(self, other: Sums) -> Sums:
        """Return the sums of both."""
        return Sums(
            self.moments + other.moments,
            self.bins + other.bins,
            self.replicates + other.replicates,
            _plus(self.hours, other.hours),
            _plus(self.arms, other.arms),
            max(self.most_weight, other.most_weight),
            max(self.bound, other.bound),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the sums as JSON that `from_json` reads back to the bit."""
        return {
            "moments": self.moments.tolist(),
            "bins": self.bins.tolist(),
            "replicates": self.replicates.tolist(),
            "hours": [[hour, *row.tolist()] for hour, row in sorted(self.hours.items())],
            "arms": [[arm_id, *row.tolist()] for arm_id, row in sorted(self.arms.items())],
            "most_weight": self.most_weight,
            "bound": self.bound,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Sums:
        """Read what `to_json` wrote."""
        moments, bins, replicates = (np.array(value[name]) for name in ("moments", "bins", "replicates"))
        hours, arms = ({key: np.array(row) for key, *row in value[name]} for name in ("hours", "arms"))
        return cls(moments, bins, replicates, hours, arms, value["most_weight"], value["bound"])


def sums_of(weighed: Weighed, seed: int, replicates: int = REPLICATES) -> Sums:
    """Sum weighed decisions.

    Args:
        weighed: The decisions.
        seed: Seed of the bootstrap.
        replicates: Number of bootstrap replicates.
    """
    w, r, b = weighed.weight, weighed.reward, weighed.direct
    c = w * (r - weighed.predicted)
    one = np.ones(len(w))
    columns = (one, r, r * r, w, w * w, w * r, w * w * r, w * w * r * r, b, b * b, weighed.unsupported)
    number = bin_of(w)
    resampled = replicate_sums(weighed.unit, np.column_stack([r, w, w * r, b]), number, c, BINS, seed, replicates)
    hour = weighed.at_us // _HOUR_US
    hours, place = np.unique(hour, return_inverse=True)
    by_hour = _by(place, len(hours), (one, r, w, w * w, w * r, weighed.unsupported))
    by_arm = _by(weighed.arm, len(weighed.arms), (one, r, w))
    by_arm = np.column_stack([by_arm, weighed.mass, weighed.mass_unsupported])
    return Sums(
        moments=np.array([column.sum() for column in columns]),
        bins=np.column_stack([_by(number, BINS, (one, w, c, b * c, c * c)), weighed.mass_by_bin]),
        replicates=resampled,
        hours=dict(zip(hours.tolist(), by_hour, strict=True)),
        arms={arm_id: row for arm_id, row in zip(weighed.arms, by_arm, strict=True) if row.any()},
        most_weight=float(w.max(initial=0.0)),
        bound=float(weighed.largest.max(initial=0.0)),
    )


def _by(number: npt.NDArray[np.integer], groups: int, columns: tuple[Float64s, ...]) -> Float64s:
    return np.column_stack([np.bincount(number, column, groups) for column in columns])


def _plus(one: Mapping[K, Float64s], two: Mapping[K, Float64s]) -> dict[K, Float64s]:
    both = dict(one)
    for key, row in two.items():
        both[key] = both[key] + row if key in both else row
    return both
