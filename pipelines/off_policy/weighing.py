"""Weigh decisions: how likely the target policy is to draw the same arm, against how likely the log was.

The probabilities are those of the whole vector, so the target's mass on arms that the log could not draw is known
exactly, decision by decision. Such mass is unsupported: no importance weight can stand for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.off_policy.log_facts import LogFacts, drawable, fold_of
from pipelines.off_policy.reward_model import RewardModel
from pipelines.off_policy.target import Target
from pipelines.off_policy.weight_bins import BINS, bin_of
from serving_client.contracts.times import BEFORE_ALL_US

__all__ = ["Weighed", "weigh"]

_EVERYTHING = (None, None, None)

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Weighed:
    """Decisions as the estimators need them, n rows.

    Args:
        unit: Hash of the user or decision, uint64 [n].
        at_us: Time of the decision in microseconds, int64 [n].
        reward: Reward r, float64 [n].
        weight: w, the target's probability of the drawn arm over its propensity, float64 [n].
        direct: Expected reward of the target by the reward model, float64 [n].
        predicted: Expected reward of the drawn arm by the reward model, float64 [n].
        unsupported: The target's mass on arms that the log could not draw, float64 [n].
        largest: Largest weight that the decision could have had, float64 [n].
        arm: Index of the drawn arm in `arms`, int64 [n].
        arms: The arms of log and target.
        mass: The target's mass, summed over the decisions, by arm, float64 [arms].
        mass_unsupported: The part of it that is unsupported, float64 [arms].
        mass_by_bin: The target's supported mass by the weight that each arm would get, float64 [BINS]. Where the log
            has only the propensity of the drawn arm, it is estimated by the weights.
    """

    unit: npt.NDArray[np.uint64]
    at_us: Int64s
    reward: Float64s
    weight: Float64s
    direct: Float64s
    predicted: Float64s
    unsupported: Float64s
    largest: Float64s
    arm: Int64s
    arms: Sequence[str]
    mass: Float64s
    mass_unsupported: Float64s
    mass_by_bin: Float64s


def weigh(decisions: pa.RecordBatch, facts: LogFacts, model: RewardModel, target: Target) -> Weighed:
    """Weigh the decisions of a block.

    Args:
        decisions: The decisions, see `selection.Selected`.
        facts: Facts about the whole log.
        model: The reward model.
        target: The policy to evaluate.
    """
    n = len(decisions)
    drawn = decisions["arm_id"].dictionary.to_pylist()
    arms = [*drawn, *sorted({*target.arms, *facts.spans} - set(drawn))]
    place = {arm_id: at for at, arm_id in enumerate(arms)}
    segments = decisions["segment"].dictionary.to_pylist()
    arm = decisions["arm_id"].indices.to_numpy().astype(np.int64)
    propensity, at_us = decisions["propensity"].to_numpy(), decisions["decided_at_us"].to_numpy()
    fold = fold_of(decisions["unit"].to_numpy())
    weight, direct, predicted, unsupported, largest = (np.zeros(n) for _ in range(5))
    mass, mass_unsupported, mass_by_bin = np.zeros(len(arms)), np.zeros(len(arms)), np.zeros(BINS)
    predictions = {
        segment: np.array([model.predict(segment, arm_id) for arm_id in arms]) for segment in segments
    }  # float64 [arms, FOLDS]
    eras = _Eras(facts, arms)
    for group in _groups(decisions, eras.number(at_us)):
        rows = group.rows
        among, could, p = _EVERYTHING if group.support is None else drawable(group.support)
        away = eras.away(group.era, certain=among is not None)
        eligible = None if among is None else among | away
        chances = np.zeros(len(arms))
        for arm_id, chance in target.probabilities(group.segment, eligible, group.context).items():
            chances[place[arm_id]] = chance
        supported = np.array([arm_id not in away and (could is None or arm_id in could) for arm_id in arms])
        covered = np.where(supported, chances, 0.0)
        weight[rows] = covered[arm[rows]] / propensity[rows]
        if not p:
            largest[rows] = weight[rows]
            mass_by_bin += np.bincount(bin_of(weight[rows]), weight[rows], BINS)
        else:
            drawn_by = np.array([max(p.get(arm_id, 0.0), 0.0) for arm_id in arms])
            possible = np.divide(covered, drawn_by, out=np.zeros(len(arms)), where=drawn_by > 0)
            largest[rows] = possible.max()
            mass_by_bin += len(rows) * np.bincount(bin_of(possible), covered, BINS)
        q = predictions[group.segment]
        direct[rows] = (chances @ q)[fold[rows]]
        predicted[rows] = q[arm[rows], fold[rows]]
        unsupported[rows] = (chances - covered).sum()
        mass += len(rows) * chances
        mass_unsupported += len(rows) * (chances - covered)
    return Weighed(
        unit=decisions["unit"].to_numpy(),
        at_us=at_us,
        reward=decisions["reward"].to_numpy(),
        weight=weight,
        direct=direct,
        predicted=predicted,
        unsupported=unsupported,
        largest=np.maximum(largest, weight),
        arm=arm,
        arms=arms,
        mass=mass,
        mass_unsupported=mass_unsupported,
        mass_by_bin=mass_by_bin,
    )


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Decisions for which the target has the same probabilities."""

    rows: Int64s
    segment: str
    support: str | None
    context: str | None
    era: int


class _Eras:
    """Spans of time in which the same arms are there."""

    def __init__(self, facts: LogFacts, arms: Sequence[str]) -> None:
        spans = {arm_id: facts.spans[arm_id] for arm_id in arms if arm_id in facts.spans}
        self._never = frozenset(arm_id for arm_id in arms if arm_id not in spans)
        self._spans = spans
        borders = {edge for span in spans.values() for edge in (span.first_us, span.last_us + 1, span.other_us + 1)}
        self._borders = sorted({BEFORE_ALL_US, *borders})

    def number(self, at_us: Int64s) -> Int64s:
        """Return the era of each time, int64 [n]."""
        return np.searchsorted(np.array(self._borders, np.int64), at_us, side="right").astype(np.int64)

    def away(self, era: int, *, certain: bool) -> frozenset[str]:
        """Return the arms that are not there in an era. `certain`: those that a decision's own fields would name."""
        at_us = self._borders[era - 1]
        spans = self._spans.items()
        away = (arm_id for arm_id, span in spans if not (span.holds(at_us) if certain else span.may_hold(at_us)))
        return self._never.union(away)


def _groups(decisions: pa.RecordBatch, era: Int64s) -> list[_Group]:
    columns = [decisions["segment"], decisions["support"].dictionary_encode(), decisions["context"].dictionary_encode()]
    codes = np.array([*(column.indices.fill_null(-1).to_numpy().astype(np.int64) for column in columns), era])
    distinct, number = np.unique(codes, axis=1, return_inverse=True)
    texts = [[*column.dictionary.to_pylist(), None] for column in columns]
    order = np.argsort(number, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(number.ravel(), minlength=distinct.shape[1]))[:-1])
    return [
        _Group(rows, texts[0][segment], texts[1][support], texts[2][context], era_number)
        for rows, (segment, support, context, era_number) in zip(parts, distinct.T.tolist(), strict=True)
    ]
