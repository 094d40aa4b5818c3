"""Read the statistics that a policy learns from: one struct of arrays for the arms of a segment.

`statistics_of` reads a snapshot. A simulator makes `ArmStatistics` itself, with leading dimensions for repetitions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serving_client.contracts.bandits import Bandit, feature_schema, feature_width
from serving_client.contracts.policies import LINEAR
from serving_client.snapshots.snapshot import Row, Snapshot

__all__ = ["ALL", "ArmStatistics", "Float64s", "statistics_of"]

Float64s = npt.NDArray[np.float64]

ALL = "*"
"""The segment that holds all decisions."""

_HOUR_US = 3_600_000_000


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ArmStatistics:
    """What is known about k arms. Leading dimensions, for example repetitions of a simulation, are allowed.

    Args:
        n: Matured decisions, float64 [..., k].
        sum_r: Sum of their rewards, float64 [..., k].
        sum_r2: Sum of their squared rewards, float64 [..., k].
        pending: Decisions whose window is open, float64 [..., k].
        prior: [alpha, beta] of a Beta distribution or [mean, weight in decisions], float64 [..., k, 2].
        xtx: X'X per arm, float64 [..., k, d, d]. None for a kind without features.
        xtr: X'r per arm, float64 [..., k, d]. None for a kind without features.
        arm_ids: Names of the arms. Only the kind `fixed` needs them.
    """

    n: Float64s
    sum_r: Float64s
    sum_r2: Float64s
    pending: Float64s
    prior: Float64s
    xtx: Float64s | None = None
    xtr: Float64s | None = None
    arm_ids: tuple[str, ...] = ()

    def take(self, arms: Sequence[int]) -> ArmStatistics:
        """Return the statistics of the arms at these positions."""
        at = np.asarray(arms, dtype=np.intp)
        return ArmStatistics(
            self.n[..., at],
            self.sum_r[..., at],
            self.sum_r2[..., at],
            self.pending[..., at],
            self.prior[..., at, :],
            None if self.xtx is None else self.xtx[..., at, :, :],
            None if self.xtr is None else self.xtr[..., at, :],
            tuple(self.arm_ids[position] for position in arms) if self.arm_ids else (),
        )


@dataclasses.dataclass(slots=True)
class _Sums:
    """The sums of one row that a policy learns from. A missing row has zeros."""

    n: float = 0.0
    sum_r: float = 0.0
    sum_r2: float = 0.0

    def add(self, other: _Sums, factor: float) -> None:
        self.n += factor * other.n
        self.sum_r += factor * other.sum_r
        self.sum_r2 += factor * other.sum_r2


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _LinSums:
    """Sums of features of k arms, whose features have one schema."""

    schema: str
    xtx: Float64s
    xtr: Float64s

    def add(self, at: int, row: Row | None, factor: float) -> None:
        """Add the sums of a row, times a factor, to an arm. A row with another schema has none."""
        lin = row.lin if row is not None else None
        if lin is not None and factor and lin.schema == self.schema and lin.d == self.xtr.shape[1]:
            self.xtx[at] += factor * lin.xtx
            self.xtr[at] += factor * lin.xtr


def statistics_of(bandit: Bandit, snapshot: Snapshot | None, segment: str, arm_ids: Sequence[str]) -> ArmStatistics:
    """Return the statistics of some arms' current generations in a segment.

    The policy's `half_life` selects decayed sums, evaluated at the snapshot's watermark. Its `hours` selects the last
    hours, of which the watermark's is one. Otherwise the sums of the whole policy epoch count.

    A segment with fewer than `shrinkage.min_n` decisions of an arm borrows decisions with the arm's mean in `*`. It
    borrows at most the decisions that `*` has more than the segment, so that a new arm stays uncertain.

    `prior_from` adds the sums of the arm's earlier generation, times its weight, to the prior. A prior does not decay.

    Args:
        bandit: The bandit.
        snapshot: Its snapshot. None, another policy_epoch, and a missing row mean that only the prior is known.
        segment: Name of the segment, or `*`.
        arm_ids: The arms, in the order of the result.

    Returns:
        Statistics of k = len(arm_ids) arms. xtx and xtr are set if the policy reads features. They are zero if the
        snapshot's features have another schema.
    """
    known = snapshot is not None and snapshot.policy_epoch == bandit.policy_epoch
    rows: Mapping[tuple[str, str, int], Row] = snapshot.rows if snapshot is not None and known else {}
    watermark_us = snapshot.watermark_us if snapshot is not None else None
    k, d = len(arm_ids), feature_width(bandit) if bandit.policy["kind"] in LINEAR else 0
    sums, pending, prior = np.zeros((3, k)), np.zeros(k), np.zeros((k, 2))
    lin = _LinSums(feature_schema(bandit), np.zeros((k, d, d)), np.zeros((k, d))) if d else None
    for at, arm_id in enumerate(arm_ids):
        generation = bandit.arms[arm_id].generation
        own, whole = (rows.get((name, arm_id, generation)) for name in (segment, ALL))
        learned = _learned(bandit, own, watermark_us)
        borrowed = 0.0
        if segment != ALL:
            pooled = _learned(bandit, whole, watermark_us)
            borrowed = _borrowed_share(learned.n, pooled.n, bandit.shrinkage.get("min_n", 0))
            learned.add(pooled, borrowed)
        sums[:, at] = learned.n, learned.sum_r, learned.sum_r2
        pending[at] = own.pending if own is not None else 0.0
        prior[at] = _prior(bandit, arm_id, rows, segment)
        if lin is not None:
            lin.add(at, own, 1.0)
            lin.add(at, whole, borrowed)
    xtx, xtr = (lin.xtx, lin.xtr) if lin is not None else (None, None)
    return ArmStatistics(sums[0], sums[1], sums[2], pending, prior, xtx, xtr, tuple(arm_ids))


def _learned(bandit: Bandit, row: Row | None, watermark_us: int | None) -> _Sums:
    """Return the sums that the policy's half_life or hours select."""
    policy: Mapping[str, Any] = bandit.policy
    if row is None:
        return _Sums()
    if "half_life" in policy:
        return _decayed(row, policy["half_life"], bandit.half_lives[policy["half_life"]], watermark_us)
    if "hours" in policy:
        return _recent(row, int(policy["hours"]), watermark_us)
    return _Sums(row.n, row.sum_r, row.sum_r2)


def _decayed(row: Row, name: str, half_life_us: int, watermark_us: int | None) -> _Sums:
    """Return sum r 2^(-(watermark - decided_at) / half-life) and its kin. Cormode et al. 2009, forward decay."""
    decayed = row.decayed.get(name)
    if decayed is None or decayed.reference_time_us is None or watermark_us is None:
        return _Sums()
    factor = 2.0 ** ((decayed.reference_time_us - watermark_us) / half_life_us)
    return _Sums(factor * decayed.w, factor * decayed.w_r, factor * decayed.w_r2)


def _recent(row: Row, hours: int, watermark_us: int | None) -> _Sums:
    """Return the sums of the last hours. The hour of the watermark is one of them."""
    sums = _Sums()
    if watermark_us is not None:
        after = watermark_us // _HOUR_US - hours
        for at in range(len(row.hours) - 1, -1, -1):
            hour = row.hours[at]
            if hour.start_us // _HOUR_US <= after:
                break
            sums.add(_Sums(hour.n, hour.sum_r, hour.sum_r2), 1.0)
    return sums


def _borrowed_share(n: float, pooled_n: float, min_n: float) -> float:
    """Return the share of the sums of `*` that a thin segment borrows."""
    borrowed = min(min_n - n, pooled_n - n)
    return borrowed / pooled_n if borrowed > 0 else 0.0


def _prior(bandit: Bandit, arm_id: str, rows: Mapping[tuple[str, str, int], Row], segment: str) -> tuple[float, float]:
    """Return the arm's prior with the pseudo-counts of `prior_from`."""
    first, second = bandit.prior.get(arm_id, (0.0, 0.0))
    earlier = bandit.prior_from.get(arm_id)
    row = rows.get((segment, arm_id, int(earlier["generation"]))) if earlier is not None else None
    if earlier is None or row is None or row.n <= 0:
        return first, second
    n, sum_r = earlier["weight"] * row.n, earlier["weight"] * row.sum_r
    if bandit.policy["kind"] in {"thompson_beta", "top_two"}:  # alpha and beta count successes and failures
        return first + max(sum_r, 0.0), second + max(n - sum_r, 0.0)
    return (second * first + sum_r) / (second + n), second + n
