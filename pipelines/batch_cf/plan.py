"""Plan a run from the totals of all histories: which items count, their numbers, and the units of the pair sums.

Totals are gathered per shard and merged. Both steps are exact, so neither sharding nor order can change the plan.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.batch_cf.rules import HistoryRules
from transforms.histories.shards import UserShard

__all__ = [
    "BLOCK_ITEMS",
    "Marginals",
    "Plan",
    "Totals",
    "block_bounds",
    "blocks_of",
    "exponent_for",
    "make_plan",
    "merge_marginals",
    "merge_totals",
    "totals_of",
]

BLOCK_ITEMS = 4096
"""Items of one block: one unit of ranking work and one output file. A constant, so that files depend on items alone;
4,096 rows of 100 neighbors are 410,000 rows, some 4 MB of Parquet, and a million items 245 files."""

_SCALE_BITS, _SCALE_TOP = 8, 4
"""Scales of items are 2^4 and every 8 bits from there: ratings and shares have one scale in common, so an increment
survives a new largest weight; and with 40 bits behind the point a sum of squares keeps 24, a float32's, at worst."""


@dataclasses.dataclass(frozen=True, eq=False)
class Totals:
    """Sums over some shards, after the limits on users.

    Args:
        items: string, distinct, in UTF-8 order.
        item_users: int64 [items], users with the item.
        item_largest: float64 [items], the item's largest weight, 1.0 without weights.
        users: Users with at least one interaction.
        interactions: Number of entries.
        pair_work: Sum of squared history lengths, capped.
    """

    items: pa.StringArray
    item_users: npt.NDArray[np.int64]
    item_largest: npt.NDArray[np.float64]
    users: int
    interactions: int
    pair_work: int
    weighted: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """The numbering of items and the shape of the work.

    Args:
        items: string [items], those within the limits, in UTF-8 order.
        item_users: int64 [items], users with the item.
        available: bool [items], whether the item may be a neighbor.
        weighted: Pairs are sums of weights.
        item_exponents: int64 [items]. An item's weights are at most 2^ its exponent and are divided by that before
            they are summed. So a sum keeps its bits whether the item's weights are 1e-9 or 1e9.
        marginal_exponent: Sums of squared weights are in units of 2^-marginal_exponent.
        interactions: As in Totals.
        pair_work: As in Totals.
    """

    items: pa.StringArray
    item_users: npt.NDArray[np.int64]
    available: npt.NDArray[np.bool_]
    weighted: bool
    item_exponents: npt.NDArray[np.int64]
    marginal_exponent: int
    interactions: int
    pair_work: int


@dataclasses.dataclass(frozen=True, eq=False)
class Marginals:
    """Second sums over some shards, with items numbered, before any cap.

    Args:
        users: Users with at least one interaction of a numbered item.
        squares: int64 [items], sum of squared scaled weights in the plan's units. None where all weights are 1.
        largest_pair: No user adds more than this to a pair.
    """

    users: int
    squares: npt.NDArray[np.int64] | None
    largest_pair: float


def totals_of(shard: UserShard, max_items_per_user: int | None) -> Totals:
    """Return the totals of a shard whose limits on users have been applied."""
    counts = np.bincount(shard.item_codes, minlength=len(shard.items))
    lengths = np.bincount(shard.user_codes)
    capped = lengths if max_items_per_user is None else np.minimum(lengths, max_items_per_user)
    largest = np.ones(len(counts))
    if shard.weights is not None:
        largest = np.zeros(len(counts))
        np.maximum.at(largest, shard.item_codes, shard.weights)
    items = shard.items.filter(pa.array(counts > 0))
    return Totals(
        *_by_item(items, counts[counts > 0].astype(np.int64), largest[counts > 0]),
        users=int((lengths > 0).sum()),
        interactions=len(shard.item_codes),
        pair_work=int(capped @ capped),
        weighted=shard.weights is not None and len(shard.weights) > 0,
    )


def merge_totals(parts: Sequence[Totals]) -> Totals:
    """Merge the totals of all parts."""
    items = pa.concat_arrays([part.items for part in parts]) if parts else pa.array([], pa.string())
    counts = np.concatenate([part.item_users for part in parts]) if parts else np.zeros(0, np.int64)
    largest = np.concatenate([part.item_largest for part in parts]) if parts else np.zeros(0)
    return Totals(
        *_by_item(items, counts, largest),
        users=sum(part.users for part in parts),
        interactions=sum(part.interactions for part in parts),
        pair_work=sum(part.pair_work for part in parts),
        weighted=any(part.weighted for part in parts),
    )


def make_plan(totals: Totals, rules: HistoryRules, unavailable: pa.StringArray) -> Plan:
    """Assign numbers to the items within the limits, and units to the sums of their weights.

    Args:
        totals: The totals of all shards.
        rules: Which interactions make a history.
        unavailable: Item ids that are never recommended.

    Returns:
        The plan.
    """
    keep = totals.item_users >= rules.min_item_users
    if rules.max_item_users is not None:
        keep &= totals.item_users <= rules.max_item_users
    items, item_users = totals.items.filter(pa.array(keep)), totals.item_users[keep]
    most_users = int(item_users.max()) if len(items) else 0
    return Plan(
        items=items,
        item_users=item_users,
        available=~pc.is_in(items, value_set=unavailable).to_numpy(zero_copy_only=False),
        weighted=totals.weighted,
        item_exponents=_scales(totals.item_largest[keep]),
        marginal_exponent=exponent_for(most_users, 1.0),
        interactions=totals.interactions,
        pair_work=totals.pair_work,
    )


def merge_marginals(parts: Iterable[Marginals]) -> Marginals:
    """Merge the marginals of all parts."""
    merged = Marginals(0, None, 1.0)
    for part in parts:
        squares = part.squares if merged.squares is None else merged.squares
        if part.squares is not None and merged.squares is not None:
            squares = merged.squares + part.squares
        merged = Marginals(merged.users + part.users, squares, max(merged.largest_pair, part.largest_pair))
    return merged


def exponent_for(terms: int, largest: float) -> int:
    """Return the e <= 40 with which `terms` numbers of at most `largest`, in units of 2^-e, add up within 2^62.

    The exponent depends on the data, so that an int64 sum cannot overflow however large the weights. It leaves 40 bits
    behind the point where there is room, fewer for sums past 4 million, and is negative past 2^62.
    """
    bound = max(1.0, terms * largest)
    return min(40, 61 - math.ceil(math.log2(bound)))


def blocks_of(items: int) -> int:
    """Return the number of blocks (and output files), at least one."""
    return max(1, -(-items // BLOCK_ITEMS))


def block_bounds(block: int, items: int) -> tuple[int, int]:
    """Return the rows [start, stop) of a block."""
    return block * BLOCK_ITEMS, min((block + 1) * BLOCK_ITEMS, items)


def _scales(largest: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the scale of each item, given its largest weight."""
    return _SCALE_TOP + _SCALE_BITS * np.ceil((np.log2(largest) - _SCALE_TOP) / _SCALE_BITS).astype(np.int64)


def _by_item(
    items: pa.StringArray, counts: npt.NDArray[np.int64], largest: npt.NDArray[np.float64]
) -> tuple[pa.StringArray, npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return distinct items in UTF-8 order, with the sum of their counts and the largest of their weights."""
    encoded = items.dictionary_encode()
    codes = encoded.indices.to_numpy()
    sums, most = np.zeros(len(encoded.dictionary), np.int64), np.zeros(len(encoded.dictionary))
    np.add.at(sums, codes, counts)
    np.maximum.at(most, codes, largest)
    order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    return encoded.dictionary.take(pa.array(order)), sums[order], most[order]
