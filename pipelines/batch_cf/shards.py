"""Apply decay, deduplication and the limits on users to a shard of users."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.batch_cf.rules import HistoryRules
from transforms.errors import BadInput
from transforms.histories.shards import UserShard, concatenate_blocks, merge_entries

__all__ = ["largest_timestamp", "limit_users", "merge_blocks", "storable"]

LARGEST_WEIGHT, SMALLEST_WEIGHT = 2.0**200, 2.0**-200
"""Within these, squares, their sums and quotients stay far from what float64 can hold. Decay passes the lower one."""


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
    shard = concatenate_blocks(blocks)
    weights = shard.weights
    if rules.half_life_us is not None and shard.timestamps is not None and reference_us is not None:
        decay = np.exp2((shard.timestamps - reference_us) / rules.half_life_us)
        weights = decay if weights is None else weights * decay
    return merge_entries(shard, weights, rules.dedupe)


def storable(blocks: Sequence[pa.RecordBatch], rules: HistoryRules) -> UserShard:
    """Return the part of a shard that a later run needs.

    Weights are stored without decay, since the later run decays to another time. Sums and maxima of decayed weights
    need every interaction. Otherwise the deduplicated interactions are enough.
    """
    if rules.half_life_us is not None and rules.dedupe in ("sum", "max"):
        return concatenate_blocks(blocks)
    return merge_blocks(blocks, dataclasses.replace(rules, half_life_us=None), None)


def limit_users(shard: UserShard, rules: HistoryRules) -> UserShard:
    """Leave out interactions without weight, and users with too few or too many items.

    A weight below SMALLEST_WEIGHT counts as no weight. Binary rules drop the weights.

    Raises:
        BadInput: A weight is above LARGEST_WEIGHT.
    """
    if shard.weights is not None and len(shard.weights):
        if float(shard.weights.max()) > LARGEST_WEIGHT:
            raise BadInput(
                f"a weight of {shard.weights.max():.3g} is past {LARGEST_WEIGHT:.3g}; scale the weights down"
            )
        if float(shard.weights.min()) < SMALLEST_WEIGHT:
            shard = shard.select(shard.weights >= SMALLEST_WEIGHT)
    if rules.min_user_items > 1 or rules.max_user_items is not None:
        lengths = np.bincount(shard.user_codes, minlength=len(shard.users))
        keep = (lengths >= rules.min_user_items) & (lengths <= (rules.max_user_items or np.iinfo(np.int64).max))
        shard = shard.select(keep[shard.user_codes])
    return dataclasses.replace(shard, weights=None) if rules.binary else shard
