"""Merge the blocks of a shard of users to histories: each item once, oldest first.

All operations are on arrays. The result depends only on the set of interactions, and not on the order of arrival, files
or shards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.vae_train.config import FeatureRules
from transforms.hashing import siphash
from transforms.histories.shards import UserShard, concatenate_blocks, merge_entries

__all__ = ["LARGEST_WEIGHT", "Histories", "hash_pairs", "merge_histories"]

LARGEST_WEIGHT = 1e30
"""Examples store weights as float32 (at most 3.4e38). This limit leaves room for the sum of many weights in a loss."""


@dataclasses.dataclass(frozen=True, eq=False)
class Histories:
    """Histories of some users. User u has the entries indptr[u] to indptr[u + 1] - 1, oldest first.

    Attributes:
        users: string [users]. Each user has at least one entry.
        keys: SipHash(rules.seed, user), uint64 [users].
        indptr: int64 [users + 1].
        items: Distinct item ids in UTF-8 order, string.
        codes: Positions in `items`, int64 [entries].
        weights: float64 [entries], or None if all are 1.
        timestamps: Microseconds, int64 [entries], or None.
        zero_weight: Number of interactions that were left out because their weight is 0.
    """

    users: pa.StringArray
    keys: npt.NDArray[np.uint64]
    indptr: npt.NDArray[np.int64]
    items: pa.StringArray
    codes: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64] | None
    timestamps: npt.NDArray[np.int64] | None
    zero_weight: int = 0

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of items of each user, int64 [users], at least 1."""
        return np.diff(self.indptr)

    def select(self, which: npt.NDArray[np.bool_]) -> Histories:
        """Return the users of `which`, bool [users], with all items."""
        keep = np.repeat(which, self.lengths)
        return Histories(
            users=self.users.filter(pa.array(which)),
            keys=self.keys[which],
            indptr=np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths[which])]),
            items=self.items,
            codes=self.codes[keep],
            weights=None if self.weights is None else self.weights[keep],
            timestamps=None if self.timestamps is None else self.timestamps[keep],
        )


def merge_histories(blocks: Sequence[pa.RecordBatch], rules: FeatureRules) -> Histories:
    """Merge all blocks of a shard to histories.

    If a user has several interactions with an item, the newest counts. Among equally new interactions, or without
    times, the one with the largest weight counts. If its weight is 0, it is left out.

    Entries are sorted by time. Equal times, which are frequent in a log of days, and entries without times are sorted
    by `hash_pairs`. The newest fifth of a day is therefore a fifth by hash and not the items whose ids sort last.

    Args:
        blocks: All blocks of the shard.
        rules: Users with fewer than rules.min_user_items items are skipped.
    """
    shard = concatenate_blocks(blocks)
    merged = merge_entries(shard, shard.weights, "last")
    zero_weight = 0
    if merged.weights is not None and (weightless := merged.weights == 0).any():
        zero_weight = int(weightless.sum())
        merged = merged.select(~weightless)
    lengths = np.bincount(merged.user_codes, minlength=len(merged.users))
    stays = lengths >= max(1, rules.min_user_items)
    if not stays.all():
        merged = merged.select(stays[merged.user_codes])
    users = merged.users.filter(pa.array(stays))
    keys = siphash(users, rules.seed)
    user_codes = (np.cumsum(stays) - 1)[merged.user_codes]
    order = _order(merged, user_codes, keys, rules.seed)
    return Histories(
        users=users,
        keys=keys,
        indptr=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[stays])]),
        items=merged.items,
        codes=merged.item_codes[order],
        weights=None if merged.weights is None else merged.weights[order],
        timestamps=None if merged.timestamps is None else merged.timestamps[order],
        zero_weight=zero_weight,
    )


def hash_pairs(
    keys: npt.NDArray[np.uint64], items: pa.StringArray, codes: npt.NDArray[np.int64], seed: int
) -> npt.NDArray[np.uint64]:
    """Hash pairs of user and item: SplitMix64 of the user's key plus the item's SipHash.

    Args:
        keys: Keys of the users, uint64 [pairs].
        items: Distinct item ids, string.
        codes: Positions in items, int64 [pairs].
        seed: Seed of the SipHash.

    Returns:
        uint64 [pairs].
    """
    mixed: npt.NDArray[np.uint64] = keys + siphash(items, seed)[codes] * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _order(
    merged: UserShard, user_codes: npt.NDArray[np.int64], keys: npt.NDArray[np.uint64], seed: int
) -> npt.NDArray[np.intp]:
    """Return the order of entries by user, then oldest first."""
    ties = hash_pairs(keys[user_codes], merged.items, merged.item_codes, seed)
    if merged.timestamps is None:
        return np.lexsort((ties, user_codes))
    return np.lexsort((ties, merged.timestamps, user_codes))
