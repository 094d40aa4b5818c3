"""Blocks of one shard of users to their histories: each item once, oldest first. Arrays only, no row in Python.

The rules are functions of the set of interactions: order of arrival, files and shards never matter.
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
"""Weights enter the examples as float32, and a loss adds many of them: this leaves room below its 3.4e38."""


@dataclasses.dataclass(frozen=True, eq=False)
class Histories:
    """Histories of some users; user u has the entries indptr[u] to indptr[u + 1], oldest first.

    users: string [users], each with at least one entry. keys: uint64 [users], SipHash(rules.seed, user).
    indptr: int64 [users + 1]. items: string, distinct, in UTF-8 order; codes: int64 [entries] into them.
    weights: float64 [entries] or None (all 1). timestamps: int64 [entries] microseconds or None.
    """

    users: pa.StringArray
    keys: npt.NDArray[np.uint64]
    indptr: npt.NDArray[np.int64]
    items: pa.StringArray
    codes: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64] | None
    timestamps: npt.NDArray[np.int64] | None

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Items of each user, int64 [users], at least 1."""
        return np.diff(self.indptr)

    def select(self, which: npt.NDArray[np.bool_]) -> Histories:
        """The users of `which`, bool [users]; items stay as they are."""
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
    """The histories of a shard, from all its blocks; users with fewer than rules.min_user_items are left out.

    Of several interactions of a user with an item the newest counts, with its weight (of equally new ones, or without
    times, the heaviest). Order: by time, equal times (in a log of days: most) and all without times by `hash_pairs`, so
    that "the newest fifth" of a day is a fifth by hash and not the items whose ids sort last.
    """
    shard = concatenate_blocks(blocks)
    merged = merge_entries(shard, shard.weights, "last")
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
    )


def hash_pairs(
    keys: npt.NDArray[np.uint64], items: pa.StringArray, codes: npt.NDArray[np.int64], seed: int
) -> npt.NDArray[np.uint64]:
    """A number per pair of user and item, uint64 [pairs]: SplitMix64 of the user's key plus the item's SipHash.

    keys: uint64 [pairs], the users'. codes: int64 [pairs] into items.
    """
    mixed: npt.NDArray[np.uint64] = keys + siphash(items, seed)[codes] * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _order(
    merged: UserShard, user_codes: npt.NDArray[np.int64], keys: npt.NDArray[np.uint64], seed: int
) -> npt.NDArray[np.intp]:
    """Entries by user, then oldest first."""
    ties = hash_pairs(keys[user_codes], merged.items, merged.item_codes, seed)
    if merged.timestamps is None:
        return np.lexsort((ties, user_codes))
    return np.lexsort((ties, merged.timestamps, user_codes))
