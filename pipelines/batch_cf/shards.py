"""What batch_cf makes of a shard of users: decay, deduplication and limits by its rules."""

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
    """The newest time of a block, microseconds; None without times."""
    if "timestamp" not in block.schema.names or not len(block):
        return None
    return int(pc.max(block.column("timestamp")).as_py())


def merge_blocks(blocks: Sequence[pa.RecordBatch], rules: HistoryRules, reference_us: int | None) -> UserShard:
    """Decay and deduplicate all interactions of a shard. reference_us: the time at which decayed weights are taken.

    Raises BadInput as `deduplicate` does.
    """
    shard = concatenate_blocks(blocks)
    weights = shard.weights
    if rules.half_life_us is not None and shard.timestamps is not None and reference_us is not None:
        decay = np.exp2((shard.timestamps - reference_us) / rules.half_life_us)
        weights = decay if weights is None else weights * decay
    return merge_entries(shard, weights, rules.dedupe)


def storable(blocks: Sequence[pa.RecordBatch], rules: HistoryRules) -> UserShard:
    """What of a shard a later run must know: without decay, since the later run decays to another time.

    Sums and maxima of decayed weights need every interaction; otherwise the deduplicated ones do.
    """
    if rules.half_life_us is not None and rules.dedupe in ("sum", "max"):
        return concatenate_blocks(blocks)
    return merge_blocks(blocks, dataclasses.replace(rules, half_life_us=None), None)


def limit_users(shard: UserShard, rules: HistoryRules) -> UserShard:
    """Leave out what has no weight, and users with too few or too many items; forget weights if rules are binary.

    A weight below SMALLEST_WEIGHT is none. Raises BadInput for one above LARGEST_WEIGHT.
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
