"""Add up each user's decisions, so that a user counts as one unit however many decisions the user has.

A user's decisions are not independent: a sticky user keeps one draw, and people differ. A user's value is the sums of
w and w r in each group. The moments are the sums over users of these values and of their products.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.experiment.groups import POLICY, Moments
from serving_client.contracts.bandits import Bandit
from transforms.attribution.rules import HOLDBACK
from transforms.hashing import siphash

__all__ = ["UserSums", "UserTotals", "add_totals", "divide", "totals_of", "user_sums"]

Float64s = npt.NDArray[np.float64]

_SEED = 0
"""Of the hash of users, which only brings the parts of a user together."""
_NOBODY = -1
_LEAST_PROPENSITY = 1e-9
"""A smaller propensity counts as missing. Computed probabilities have this accuracy, and 1/p^2 can overflow."""


@dataclasses.dataclass(frozen=True, eq=False)
class UserSums:
    """Users with their sums, one row per user.

    Args:
        user: Hash of the user's key, uint64 [users], ascending.
        sums: Sum of w and w r of each group in turn, float64 [users, 2 groups].
        first_us: decided_at of the user's first decision that the policy drew, int64 [users]. The largest int64 if
            there is none.
        first_arm: Index of the arm that it drew, int64 [users]. -1 for an arm that is not among the groups.
        first_p: Its propensity, float64 [users].
    """

    user: npt.NDArray[np.uint64]
    sums: Float64s
    first_us: npt.NDArray[np.int64]
    first_arm: npt.NDArray[np.int64]
    first_p: Float64s


@dataclasses.dataclass(frozen=True, eq=False)
class UserTotals:
    """Sums over users, which can be added.

    Args:
        sums: As in Moments.
        products: As in Moments.
        units: As in Moments.
        users: Number of users.
        exposure: By arm among the groups, of users by their first draw: users, sum of 1 / p, sum of 1 / p^2 and users
            without a propensity, float64 [groups + 1, 4]. The last row is for other arms.
    """

    sums: Float64s
    products: Float64s
    units: Float64s
    users: int
    exposure: Float64s

    def to_fact(self) -> dict[str, Any]:
        """Return the totals as JSON, to the bit."""
        return {
            field.name: value.tolist() if isinstance(value := getattr(self, field.name), np.ndarray) else value
            for field in dataclasses.fields(self)
        }

    @classmethod
    def from_fact(cls, fact: Mapping[str, Any]) -> UserTotals:
        """Read what `to_fact` wrote."""
        arrays = {name: np.array(value, np.float64) for name, value in fact.items() if name != "users"}
        return cls(users=fact["users"], **arrays)

    def moments(self, names: Sequence[str]) -> Moments:
        """Return the moments of the groups."""
        return Moments(names, self.sums, self.products, self.units, by_user=True)

    def exposure_rows(self, names: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
        """Return what `transforms.inference.exposure.e_values` takes, with users in place of decisions.

        Returns:
            The rows of the arms, and how many users the policy drew an arm for. Other arms count there alone.
        """
        rows = [
            {
                "segment": "*",
                "arm_id": name,
                "arm_generation": 1,
                "n": n,
                "fallbacks": 0,
                "ipw": {"n": n - missing, "sum_w": w, "sum_w2": w2, "missing": missing},
            }
            for name, (n, w, w2, missing) in zip(names, self.exposure[:-1].tolist(), strict=True)
            if n and name not in (POLICY, HOLDBACK)
        ]
        return rows, round(self.exposure[:, 0].sum())


def user_sums(decisions: pa.RecordBatch, bandit: Bandit, names: Sequence[str]) -> UserSums | None:
    """Add up the users of a block of joined decisions.

    Args:
        decisions: `decisions` of JoinedDecisions.
        bandit: The bandit.
        names: Names of the groups.

    Returns:
        The sums, None without a counted decision of the bandit that names a user.
    """
    kept = pc.and_(
        pc.and_(pc.equal(decisions["bandit_id"], bandit.bandit_id), pc.equal(decisions["outcome"], "counted")),
        pc.and_(pc.is_valid(decisions["user_key"]), pc.invert(decisions["fallback"])),
    )
    rows = decisions.filter(kept)
    if not len(rows):
        return None
    keys, user = np.unique(siphash(rows["user_key"], _SEED), return_inverse=True)
    arm_id, held = rows["arm_id"].cast(pa.string()), _booleans(pc.equal(rows["segment"], HOLDBACK))
    generation, p = rows["arm_generation"].to_numpy(), rows["propensity"].to_numpy()
    reward, at_us = rows["reward"].to_numpy(), rows["decided_at_us"].to_numpy()
    arm = np.full(len(rows), _NOBODY)
    for place, name in enumerate(names):
        arm[_is_arm(arm_id, generation, bandit, name)] = place
    w = _weights(p)
    sums = np.zeros((len(keys), 2 * len(names)))
    for place, name in enumerate(names):
        if name == HOLDBACK:
            inside = held & _is_arm(arm_id, generation, bandit, bandit.holdback.arm if bandit.holdback else "")
        else:
            inside = ~held & ((arm == place) | (name == POLICY))
        weight = np.where(inside, 1.0 if name in (POLICY, HOLDBACK) else w, 0.0)
        np.add.at(sums[:, 2 * place], user, weight)
        np.add.at(sums[:, 2 * place + 1], user, weight * reward)
    order = np.lexsort((rows["key"].to_numpy(), at_us, user))
    order = order[~held[order]]
    drawn, first = np.unique(user[order], return_index=True)
    first_us, first_arm = np.full(len(keys), np.iinfo(np.int64).max), np.full(len(keys), _NOBODY)
    first_p = np.zeros(len(keys))
    first_us[drawn], first_arm[drawn], first_p[drawn] = at_us[order][first], arm[order][first], p[order][first]
    return UserSums(keys, sums, first_us, first_arm, first_p)


def divide(users: UserSums, buckets: int) -> Mapping[int, UserSums]:
    """Divide users by their hash, so that all parts of a user meet in one bucket."""
    bucket = (users.user % np.uint64(buckets)).astype(np.int64)
    return {int(each): _take(users, np.flatnonzero(bucket == each)) for each in np.unique(bucket)}


def totals_of(parts: Iterable[UserSums]) -> UserTotals:
    """Add up all parts of some users, at least one part, in any order: first each user, then over the users."""
    listed = list(parts)
    user = np.concatenate([part.user for part in listed])
    # Equal users in a fixed order, so that float sums do not depend on the order of the parts.
    rows = np.concatenate([part.sums for part in listed])
    first_us, first_arm, first_p = (
        np.concatenate([getattr(part, name) for part in listed]) for name in ("first_us", "first_arm", "first_p")
    )
    order = np.lexsort((*rows.T, first_p, first_arm, first_us, user))
    user, rows, first_us, first_arm, first_p = (column[order] for column in (user, rows, first_us, first_arm, first_p))
    keys, start = np.unique(user, return_index=True)
    sums = np.add.reduceat(rows, start, axis=0)
    groups = sums.shape[1] // 2
    first_us, first_arm, first_p = first_us[start], first_arm[start], first_p[start]
    drawn = first_us < np.iinfo(np.int64).max
    arm, p = np.where(first_arm[drawn] == _NOBODY, groups, first_arm[drawn]), first_p[drawn]
    w = _weights(p)
    exposure: Float64s = np.stack(
        [
            np.bincount(arm, each, groups + 1)
            for each in (np.ones(len(arm)), w, w * w, (p < _LEAST_PROPENSITY).astype(float))
        ],
        axis=1,
    )
    units: Float64s = (sums[:, ::2] > 0).sum(axis=0).astype(np.float64)
    return UserTotals(sums.sum(axis=0), sums.T @ sums, units, len(keys), exposure)


def add_totals(parts: Iterable[UserTotals]) -> UserTotals:
    """Add totals of different users, at least one."""
    listed = list(parts)
    names = ("sums", "products", "units", "exposure")
    added = {name: np.sum([getattr(each, name) for each in listed], axis=0) for name in names}
    return UserTotals(users=sum(each.users for each in listed), **added)


def _take(users: UserSums, rows: npt.NDArray[np.int64]) -> UserSums:
    return UserSums(*(getattr(users, field.name)[rows] for field in dataclasses.fields(users)))


def _is_arm(arm_id: pa.Array, generation: Any, bandit: Bandit, name: str) -> npt.NDArray[np.bool_]:
    """Return which decisions drew the present generation of an arm, none for the name of another group."""
    if name not in bandit.arms:
        return np.zeros(len(arm_id), np.bool_)
    present: npt.NDArray[np.bool_] = _booleans(pc.equal(arm_id, name)) & (generation == bandit.arms[name].generation)
    return present


def _weights(p: Float64s) -> Float64s:
    """Return 1 / p, and 0 for a propensity that counts as missing."""
    return np.divide(1.0, p, out=np.zeros(len(p)), where=p >= _LEAST_PROPENSITY)


def _booleans(column: Any) -> npt.NDArray[np.bool_]:
    values: npt.NDArray[np.bool_] = pc.fill_null(column, False).to_numpy(zero_copy_only=False)
    return values
