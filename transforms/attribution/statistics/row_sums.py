"""Compute the rows of many counted decisions at once.

Most rewards are 0 or 1, so integer sums are computed from how often each (label, hour, reward) occurs. Float sums are
exact (see `exact`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serving_client.contracts.bandits import Bandit
from transforms.attribution.statistics.exact import Exact, exact_sums
from transforms.attribution.statistics.rows import HOUR_US, MICRO, Decayed, Ipw, Lin, RowSums

__all__ = ["Counted", "sum_rows"]

_MOST_CELLS = 1 << 21
_EXACT_FLOAT = 1 << 53


@dataclasses.dataclass(slots=True, eq=False)
class Counted:
    """Counted decisions as columns [n]: label (an index), decided_us, reward (micro-units), propensity.

    features: int32 [n, d] in units of 2^-10, None where nobody has any; described: which rows have the features that
    their bandit asks for.
    """

    label: npt.NDArray[np.int32]
    decided_us: npt.NDArray[np.int64]
    reward: npt.NDArray[np.int64]
    propensity: npt.NDArray[np.float64]
    features: npt.NDArray[np.int32] | None = None
    described: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: npt.NDArray[np.int64]) -> Counted:
        """Return the rows of these numbers."""
        return Counted(
            self.label[rows],
            self.decided_us[rows],
            self.reward[rows],
            self.propensity[rows],
            None if self.features is None else self.features[rows],
            None if self.described is None else self.described[rows],
        )


def sum_rows(
    counted: Counted, bandit_of: Sequence[Bandit | None], lin_of: Sequence[tuple[str, int]]
) -> dict[int, RowSums]:
    """Compute the sums of each label that occurs. bandit_of, lin_of: by label. lin_of is the feature schema and d."""
    if not len(counted):
        return {}
    labels, codes = np.unique(counted.label, return_inverse=True)
    rows = [RowSums() for _ in labels]
    _sum_integers(rows, codes, counted)
    _sum_ipw(rows, codes, counted)
    for half_lives, members in _by_half_lives(labels.tolist(), bandit_of).items():
        chosen = np.isin(codes, members) if len(members) < len(labels) else np.ones(len(codes), np.bool_)
        for name, half_life_us in half_lives:
            _sum_decayed(rows, codes[chosen], counted.decided_us[chosen], counted.reward[chosen], name, half_life_us)
    if counted.features is not None and counted.described is not None and counted.described.any():
        for code, label in enumerate(labels.tolist()):
            chosen = (codes == code) & counted.described
            schema, d = lin_of[label]
            if d and chosen.any():
                rows[code].lin = _sum_lin(counted.features[chosen][:, :d], counted.reward[chosen], schema)
    return dict(zip(labels.tolist(), rows, strict=True))


def _by_half_lives(
    labels: Sequence[int], bandit_of: Sequence[Bandit | None]
) -> dict[tuple[tuple[str, int], ...], list[int]]:
    """Positions of labels by the half-lives of their bandit, so that bandits alike are summed together."""
    groups: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for code, label in enumerate(labels):
        bandit = bandit_of[label]
        if bandit is not None and bandit.half_lives:
            groups.setdefault(tuple(bandit.half_lives.items()), []).append(code)
    return groups


def _sum_integers(rows: list[RowSums], codes: npt.NDArray[np.int64], counted: Counted) -> None:
    hours = counted.decided_us // HOUR_US
    first = int(hours.min())
    span = int(hours.max()) - first + 1
    values, kind = np.unique(counted.reward, return_inverse=True)
    cells = (codes * span + (hours - first)) * len(values) + kind
    size = len(rows) * span * len(values)
    if size > _MOST_CELLS:
        present, counts = np.unique(cells, return_counts=True)
    else:
        counts = np.bincount(cells, minlength=size)
        present = np.flatnonzero(counts)
        counts = counts[present]
    rewards = values.tolist()
    for cell, count in zip(present.tolist(), counts.tolist(), strict=True):
        place, at = divmod(cell, len(rewards))
        code, hour = divmod(place, span)
        reward, row = rewards[at], rows[code]
        total, squares = count * reward, count * reward * reward
        row.n += count
        row.sum_r += total
        row.sum_r2 += squares
        sums = row.hours.setdefault((first + hour) * HOUR_US, [0, 0, 0])
        sums[0] += count
        sums[1] += total
        sums[2] += squares


def _sum_ipw(rows: list[RowSums], codes: npt.NDArray[np.int64], counted: Counted) -> None:
    """Add the sums of w = 1/p in float64. A propensity whose 1/p squared is infinite counts as missing."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        w = 1.0 / counted.propensity
        w2 = w * w
        wr = w * (counted.reward / MICRO)
        w2r2 = wr * wr
    usable = np.isfinite(w2) & np.isfinite(w2r2)
    size = len(rows)
    missing = np.bincount(codes[~usable], minlength=size).tolist()
    known = codes[usable]
    n = np.bincount(known, minlength=size).tolist()
    sums = [exact_sums(values[usable], known, size) for values in (w, w2, wr, w2r2)]
    for code, row in enumerate(rows):
        row.ipw = Ipw(n[code], missing[code], *(each.get(code) or Exact() for each in sums))


def _sum_decayed(
    rows: list[RowSums],
    codes: npt.NDArray[np.int64],
    decided_us: npt.NDArray[np.int64],
    reward: npt.NDArray[np.int64],
    name: str,
    half_life_us: int,
) -> None:
    multiple = -(-decided_us // half_life_us)
    w = np.exp2(-(multiple * half_life_us - decided_us) / half_life_us)
    first = int(multiple.min())
    span = int(multiple.max()) - first + 1
    groups = codes * span + (multiple - first)
    if len(rows) * span > _MOST_CELLS:
        present, groups = np.unique(groups, return_inverse=True)
    else:
        present = np.arange(len(rows) * span)
    r = reward / MICRO
    sums = [exact_sums(values, groups, len(present)) for values in (w, w * r, w * (r * r))]
    for at in sums[0]:  # every decision has a weight, so no group is missing here
        code, step = divmod(int(present[at]), span)
        decayed = rows[code].decayed.setdefault(name, Decayed())
        for part, each in zip(decayed.parts(), sums, strict=True):
            if at in each:
                part.add(each[at].scaled(first + step))


def _sum_lin(x: npt.NDArray[np.int32], reward: npt.NDArray[np.int64], schema: str) -> Lin:
    """Products are exact integers: in float64 while no sum can pass 2^53, in Python's integers otherwise."""
    d = x.shape[1]
    greatest = int(np.abs(x).max(initial=0))
    upper = np.triu_indices(d)
    if greatest * greatest * len(x) < _EXACT_FLOAT:
        dense = x.astype(np.float64)
        xtx: list[int] = (dense.T @ dense)[upper].astype(np.int64).tolist()
    else:
        numbers = x.astype(object)
        xtx = (numbers.T @ numbers)[upper].tolist()
    if greatest * int(np.abs(reward).max(initial=0)) * len(x) < _EXACT_FLOAT:
        xtr: list[int] = (x.astype(np.float64).T @ reward.astype(np.float64)).astype(np.int64).tolist()
    else:
        xtr = (x.astype(object).T @ reward.astype(object)).tolist()
    return Lin(schema, xtx, xtr)
