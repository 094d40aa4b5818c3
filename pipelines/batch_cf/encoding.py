"""Number the items of a shard's histories, apply the cap, and sum each item's marginal."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from pipelines.batch_cf.histories import HistoryMatrix
from pipelines.batch_cf.plan import Marginals, Plan
from pipelines.batch_cf.rules import HistoryRules
from transforms.hashing import siphash
from transforms.histories.shards import UserShard

__all__ = ["encode", "mix_hashes", "user_factors"]


def encode(
    shard: UserShard, plan: Plan, rules: HistoryRules, user_exponent: float | None
) -> tuple[HistoryMatrix, Marginals]:
    """Encode a shard with numbered items, sum the marginals, and cap the histories.

    Numbering keeps the order of the items. Items that the plan leaves out are dropped. Marginals are taken before
    the cap.

    Args:
        shard: Users with their items.
        plan: Numbering of the items, and the units of their weights.
        rules: Which interactions make a history.
        user_exponent: As in `user_factors`. None means that users weigh alike. The histories' weights are then
            divided by 2^item_exponents of the plan, so that every pair is summed at the scale of its items.

    Returns:
        The numbered histories and the marginals of the shard.
    """
    code_of = pc.fill_null(pc.index_in(shard.items, value_set=plan.items), -1).to_numpy().astype(np.int64)
    items, users, weights, times = code_of[shard.item_codes], shard.user_codes, shard.weights, shard.timestamps
    if (items < 0).any():
        known = items >= 0
        items, users = items[known], users[known]
        weights = None if weights is None else weights[known]
        times = None if times is None else times[known]
    scaled = None if weights is None else np.ldexp(weights, -plan.item_exponents[items])
    squares = _squares(items, scaled, len(plan.items), plan.marginal_exponent) if plan.weighted else None
    if user_exponent is None:
        weights = scaled
    holders = int((np.diff(users, prepend=-1) > 0).sum())
    if rules.max_items_per_user is not None:
        hashes = mix_hashes(siphash(shard.users, rules.seed)[users], siphash(plan.items, rules.seed)[items])
        keep = _capped(users, items, times, hashes, rules.max_items_per_user)
        items, users = items[keep], users[keep]
        weights = None if weights is None else weights[keep]
    starts = np.flatnonzero(np.diff(users, prepend=-1) > 0)
    histories = HistoryMatrix(np.append(starts, len(users)).astype(np.int64), items.astype(np.uint32), weights)
    return histories, Marginals(holders, squares, _largest_pair(histories, user_exponent))


def user_factors(histories: HistoryMatrix, user_exponent: float | None) -> npt.NDArray[np.float64]:
    """Return the factor of each user's pairs: (sum of w^2 of the history) ** -user_exponent.

    With unit weights the sum is the history's length after the cap.

    Args:
        histories: Numbered, capped histories.
        user_exponent: Exponent of the measure. None gives ones.

    Returns:
        float64 [users].
    """
    if user_exponent is None or histories.users == 0:
        return np.ones(histories.users)
    if histories.weights is None:
        return np.diff(histories.indptr).astype(np.float64) ** -user_exponent
    return np.add.reduceat(histories.weights**2, histories.indptr[:-1]) ** -user_exponent


def _squares(
    items: npt.NDArray[np.int64], weights: npt.NDArray[np.float64] | None, width: int, exponent: int
) -> npt.NDArray[np.int64]:
    squares = np.zeros(width, np.int64)
    ones = weights if weights is not None else np.ones(len(items))
    np.add.at(squares, items, np.rint(np.ldexp(ones * ones, exponent)).astype(np.int64))
    return squares


def _largest_pair(histories: HistoryMatrix, user_exponent: float | None) -> float:
    if histories.users == 0:
        return 1.0
    factors = user_factors(histories, user_exponent)
    if histories.weights is None:
        return float(factors.max())
    return float((factors * np.maximum.reduceat(histories.weights, histories.indptr[:-1]) ** 2).max())


def _capped(
    users: npt.NDArray[np.int64],
    items: npt.NDArray[np.int64],
    times: npt.NDArray[np.int64] | None,
    hashes: npt.NDArray[np.uint64],
    most: int,
) -> npt.NDArray[np.bool_]:
    """Mark the `most` newest entries of each user.

    Entries of equal time, and entries without times, are chosen by the smallest hash, then by item.
    """
    order = np.lexsort((items, hashes, users) if times is None else (items, hashes, -times, users))
    ordered = users[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1) > 0)
    place = np.arange(len(users)) - np.repeat(starts, np.diff(starts, append=len(users)))
    keep = np.empty(len(users), np.bool_)
    keep[order] = place < most
    return keep


def mix_hashes(users: npt.NDArray[np.uint64], items: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return one hash of two: the finalizer of splitmix64 (Steele et al. 2014) over user + golden ratio x item."""
    mixed: npt.NDArray[np.uint64] = users + items * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed
