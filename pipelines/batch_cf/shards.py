"""Apply decay, deduplication and the limits on users to a shard of users."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.batch_cf.rules import HistoryRules
from transforms.errors import BadInput
from transforms.histories.shards import UserShard, concatenate_blocks, merge_entries

__all__ = ["Kept", "keep_histories", "largest_timestamp", "merge_blocks", "storable"]

LARGEST_WEIGHT, SMALLEST_WEIGHT = 2.0**200, 2.0**-200
"""Within these, squares, their sums and quotients stay far from what float64 can hold. Decay passes the lower one."""


class Kept(NamedTuple):
    """The histories of a shard, and how many interactions each rule left out, in the order of the rules.

    Args:
        shard: The users within the limits.
        repeats: Interactions that were merged into another one of the same user and item.
        zero_weight: Merged interactions of weight 0.
        decayed: Merged interactions whose weight decayed below SMALLEST_WEIGHT.
        of_limited_users: Merged interactions of users with too few or too many items.
    """

    shard: UserShard
    repeats: int
    zero_weight: int
    decayed: int
    of_limited_users: int


def largest_timestamp(block: pa.RecordBatch) -> int | None:
    """Return the newest time of a block in microseconds, None without times."""
    if "timestamp" not in block.schema.names or not len(block):
        return None
    return int(pc.max(block.column("timestamp")).as_py())


def merge_blocks(blocks: Sequence[pa.RecordBatch], rules: HistoryRules, reference_us: int | None) -> UserShard:
    """Decay and deduplicate all interactions of a shard.

    Args:
        blocks: The interactions.
        rules: Which interactions make a history.
        reference_us: Time in microseconds at which decayed weights are taken, None without decay.

    Returns:
        The users of the shard.

    Raises:
        BadInput: As `deduplicate` raises it.
    """
    return _merge(concatenate_blocks(blocks), rules, reference_us)


def storable(blocks: Sequence[pa.RecordBatch], rules: HistoryRules) -> UserShard:
    """Return the part of a shard that a later run needs.

    Weights are stored without decay, since the later run decays to another time. Sums and maxima of decayed weights
    need every interaction. Otherwise the deduplicated interactions are enough.
    """
    if rules.half_life_us is not None and rules.dedupe in ("sum", "max"):
        return concatenate_blocks(blocks)
    return merge_blocks(blocks, dataclasses.replace(rules, half_life_us=None), None)


def keep_histories(blocks: Sequence[pa.RecordBatch], rules: HistoryRules, reference_us: int | None) -> Kept:
    """Decay and deduplicate all interactions of a shard, drop those without weight, and apply the limits on users.

    A weight below SMALLEST_WEIGHT counts as no weight. Binary rules drop the weights at the end.

    Args:
        blocks: The interactions.
        rules: Which interactions make a history.
        reference_us: Time in microseconds at which decayed weights are taken, None without decay.

    Returns:
        The histories and what was left out.

    Raises:
        BadInput: A weight is above LARGEST_WEIGHT, or `deduplicate` raises it.
    """
    read = concatenate_blocks(blocks)
    merged = _merge(read, rules, reference_us)
    weighty, zero_weight, decayed = merged, 0, 0
    if merged.weights is not None and len(merged.weights):
        if float(merged.weights.max()) > LARGEST_WEIGHT:
            raise BadInput(
                f"a weight of {merged.weights.max():.3g} is above {LARGEST_WEIGHT:.3g}; scale the weights down"
            )
        light = merged.weights < SMALLEST_WEIGHT
        if light.any():
            weighty = merged.select(~light)
            zero_weight = int((light & _never_weighed(read, rules)).sum())
            decayed = int(light.sum()) - zero_weight
    limited = _limit_users(weighty, rules)
    return Kept(
        dataclasses.replace(limited, weights=None) if rules.binary else limited,
        repeats=len(read.user_codes) - len(merged.user_codes),
        zero_weight=zero_weight,
        decayed=decayed,
        of_limited_users=len(weighty.user_codes) - len(limited.user_codes),
    )


def _merge(shard: UserShard, rules: HistoryRules, reference_us: int | None) -> UserShard:
    weights = shard.weights
    if rules.half_life_us is not None and shard.timestamps is not None and reference_us is not None:
        decay = np.exp2((shard.timestamps - reference_us) / rules.half_life_us)
        weights = decay if weights is None else weights * decay
    return merge_entries(shard, weights, rules.dedupe)


def _never_weighed(shard: UserShard, rules: HistoryRules) -> npt.NDArray[np.bool_] | bool:
    """Return which merged interactions have no weight even without decay."""
    if rules.half_life_us is None:
        return True
    # A sum is 0 where the maximum is. The maximum of weights that have not decayed cannot overflow.
    rule = "max" if rules.dedupe == "sum" else rules.dedupe
    weights = merge_entries(shard, shard.weights, rule).weights
    return False if weights is None else weights < SMALLEST_WEIGHT


def _limit_users(shard: UserShard, rules: HistoryRules) -> UserShard:
    if rules.min_user_items <= 1 and rules.max_user_items is None:
        return shard
    lengths = np.bincount(shard.user_codes, minlength=len(shard.users))
    keep = (lengths >= rules.min_user_items) & (lengths <= (rules.max_user_items or np.iinfo(np.int64).max))
    return shard.select(keep[shard.user_codes])
