"""Predict a decision's reward by its arm and segment: means that are shrunk towards the arm's, and to the mean of all.

It is the model of the doubly robust estimators. Each fold of the log has a model of its own, fitted on the other folds
(cross-fitting, Chernozhukov et al. 2018), so that no decision is judged by its own reward.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pipelines.off_policy.log_facts import FOLDS

__all__ = ["SHRINKAGE", "RewardModel"]

SHRINKAGE = 20.0
"""Decisions that the mean above counts for. A cell of 20 decisions is half its own mean."""

Float64s = npt.NDArray[np.float64]


class RewardModel:
    """Means of rewards by segment and arm, one model per fold.

    Args:
        cells: Decisions and sum of rewards in micro-units, by (fold, segment, arm).
    """

    def __init__(self, cells: Mapping[tuple[int, str, str], tuple[int, int]]) -> None:
        by_cell: dict[tuple[str, str], npt.NDArray[np.int64]] = collections.defaultdict(_nothing)
        by_arm: dict[str, npt.NDArray[np.int64]] = collections.defaultdict(_nothing)
        total = _nothing()
        for (fold, segment, arm_id), (n, micro) in cells.items():
            others = np.arange(FOLDS) != fold
            for sums in (by_cell[segment, arm_id], by_arm[arm_id], total):
                sums[0, others] += n
                sums[1, others] += micro
        self._by_cell, self._by_arm = dict(by_cell), dict(by_arm)
        self._mean = _shrunk(total, np.zeros(FOLDS), 0.0)

    def predict(self, segment: str, arm_id: str) -> Float64s:
        """Return the expected reward of an arm in a segment by the model of each fold, float64 [FOLDS]."""
        of_arm = _shrunk(self._by_arm.get(arm_id, _nothing()), self._mean, SHRINKAGE)
        return _shrunk(self._by_cell.get((segment, arm_id), _nothing()), of_arm, SHRINKAGE)


def _nothing() -> npt.NDArray[np.int64]:
    """Return decisions and micro-units by fold, int64 [2, FOLDS]."""
    return np.zeros((2, FOLDS), np.int64)


def _shrunk(sums: npt.NDArray[np.int64], towards: Float64s, weight: float) -> Float64s:
    """Return (sum of rewards + weight x towards) / (decisions + weight) by fold, 0 without decisions and weight."""
    n, total = sums[0] + weight, sums[1] / 1e6 + weight * towards
    means: Float64s = np.divide(total, n, out=np.zeros(FOLDS), where=n > 0)
    return means
