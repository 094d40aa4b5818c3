"""The groups that an experiment compares, and their sums.

A group is an arm (the decisions of its present generation that the policy drew), the holdback share, or POLICY: all
decisions that the policy drew, with what it served. An arm's decisions have the weight 1 / propensity, so that the arm
is judged on all traffic and not on what an adaptive policy chose to give it. The others have the weight 1.

`Moments` holds the sums over independent units. From a snapshot the units are decisions. From the logs they are users
(see `user_sums`), whose decisions are not independent of each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pipelines.experiment.contrast import Contrast, Group, ratio_contrast
from pipelines.experiment.hours import Hourly, add_up
from serving_client.contracts.bandits import Bandit
from serving_client.snapshots.snapshot import Row, Snapshot
from transforms.attribution.rules import HOLDBACK

__all__ = ["ALL", "POLICY", "Moments", "arms_of", "groups_of", "hours_of", "in_words", "moments_of"]

Float64s = npt.NDArray[np.float64]

ALL = "*"
POLICY = "*policy"

_IN_WORDS = {POLICY: "the policy's traffic", HOLDBACK: "the holdback"}


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    """Sums over units of the groups' w and w r, and of their products.

    Args:
        names: Names of the groups.
        sums: Sum of w and sum of w r of each group in turn, float64 [2 groups].
        products: Sums over units of all products of a unit's 2 groups values, float64 [2 groups, 2 groups].
        units: Units with a decision of the group, float64 [groups].
        by_user: Whether a unit is a user.
    """

    names: Sequence[str]
    sums: Float64s
    products: Float64s
    units: Float64s
    by_user: bool

    def contrast(self, name: str, base: str) -> Contrast:
        """Compare the mean rewards of two groups."""
        a, b = self.names.index(name), self.names.index(base)
        chosen = [2 * a, 2 * a + 1, 2 * b, 2 * b + 1]
        units = float(self.units[a] + self.units[b])
        return ratio_contrast(self.sums[chosen], self.products[np.ix_(chosen, chosen)], units)


def in_words(name: str) -> str:
    """Return how people read the name of a group."""
    return _IN_WORDS.get(name, name)


def arms_of(bandit: Bandit, snapshot: Snapshot) -> list[str]:
    """Return the arms whose present generation has decisions, in the order of the file."""
    return [
        arm_id
        for arm_id, arm in bandit.arms.items()
        if (row := snapshot.rows.get((ALL, arm_id, arm.generation))) is not None and row.n
    ]


def _rows_of(bandit: Bandit, snapshot: Snapshot, name: str) -> list[Row]:
    """Return the rows of a group."""
    if name == POLICY:
        return [row for (segment, _, _), row in sorted(snapshot.rows.items()) if segment == ALL]
    segment = ALL
    if name == HOLDBACK:
        if bandit.holdback is None:
            return []
        segment, name = HOLDBACK, bandit.holdback.arm
    row = snapshot.rows.get((segment, name, bandit.arms[name].generation))
    return [] if row is None else [row]


def groups_of(bandit: Bandit, snapshot: Snapshot, names: Sequence[str]) -> dict[str, Group]:
    """Return what was observed of each group, by name."""
    found = {}
    for name in names:
        rows = _rows_of(bandit, snapshot, name)
        n, sum_r, sum_r2 = (sum(getattr(row, field) for row in rows) for field in ("n", "sum_r", "sum_r2"))
        effective = (n, sum_r, n - sum_r) if name in (POLICY, HOLDBACK) else _effective(rows[0].ipw if rows else {})
        found[name] = Group(name, n, sum_r, sum_r2, *effective)
    return found


def hours_of(bandit: Bandit, snapshot: Snapshot, name: str) -> Hourly:
    """Return the hours of a group that the snapshot keeps."""
    return add_up(row.hours for row in _rows_of(bandit, snapshot, name))


def moments_of(bandit: Bandit, snapshot: Snapshot, names: Sequence[str]) -> Moments:
    """Compute the moments of groups from a snapshot, as if decisions were independent.

    A row has no sum of w^2 r. For rewards of 0 and 1 it is the sum of w^2 r^2. For others it is estimated as
    sum w r x sum w^2 / sum w, which is exact if the propensity never changes.
    """
    sums, products, units = np.zeros(2 * len(names)), np.zeros((2 * len(names),) * 2), np.zeros(len(names))
    for at, (name, group) in enumerate(groups_of(bandit, snapshot, names).items()):
        if name in (POLICY, HOLDBACK):
            w, w2, wr, w2r, w2r2 = group.n, group.n, group.sum_r, group.sum_r, group.sum_r2
        else:
            ipw = next((row.ipw for row in _rows_of(bandit, snapshot, name)), {})
            w, w2, wr, w2r2 = (ipw.get(key, 0.0) for key in ("sum_w", "sum_w2", "sum_wr", "sum_w2r2"))
            w2r = w2r2 if group.is_binary else wr * w2 / w if w else 0.0
        place = slice(2 * at, 2 * at + 2)
        sums[place] = w, wr
        products[place, place] = [[w2, w2r], [w2r, w2r2]]
        units[at] = group.n
    return Moments(names, sums, products, units, by_user=False)


def _effective(ipw: Mapping[str, float]) -> tuple[float, float, float]:
    """Return the effective numbers of decisions: of all, of those with a reward, and of those without one."""
    w, w2, wr, w2r2 = (ipw.get(key, 0.0) for key in ("sum_w", "sum_w2", "sum_wr", "sum_w2r2"))
    pairs = (w, w2), (wr, w2r2), (w - wr, w2 - w2r2)
    all_, rewarded, unrewarded = (total * total / squares if squares > 0 else 0.0 for total, squares in pairs)
    return all_, rewarded, unrewarded
