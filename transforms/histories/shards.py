"""Collect the interactions of one shard of users, still with string ids.

A shard holds all interactions of its users. So deduplication and limits per user need no other shard.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.hashing import siphash
from transforms.histories.dedupe import DedupeRule, deduplicate

__all__ = ["UserShard", "compact", "concatenate_blocks", "merge_entries", "partition", "to_block"]


@dataclasses.dataclass(frozen=True, eq=False)
class UserShard:
    """The interactions of a shard's users. After deduplication they are sorted by user, then by item code.

    Attributes:
        users: Distinct ids, string. The index of an id is its code.
        items: Distinct ids in UTF-8 order, string. The index of an id is its code.
        user_codes: int64 [entries].
        item_codes: int64 [entries].
        weights: float64 [entries], or None if all are 1.
        timestamps: int64 [entries], microseconds since 1970, or None.
    """

    users: pa.StringArray
    items: pa.StringArray
    user_codes: npt.NDArray[np.int64]
    item_codes: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64] | None
    timestamps: npt.NDArray[np.int64] | None

    def select(self, keep: npt.NDArray[np.bool_]) -> UserShard:
        """Return the shard with only the entries to keep. Users and items stay unchanged."""
        return dataclasses.replace(
            self,
            user_codes=self.user_codes[keep],
            item_codes=self.item_codes[keep],
            weights=None if self.weights is None else self.weights[keep],
            timestamps=None if self.timestamps is None else self.timestamps[keep],
        )


def partition(block: pa.RecordBatch, shards: int, seed: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Split a block by SipHash(seed, user) mod shards. Each part carries only the ids that it uses."""
    users = block.column("user_id")
    shard_of_user = (siphash(users.dictionary, seed) % np.uint64(shards)).astype(np.uint16)
    shard_of_row = shard_of_user[users.indices.to_numpy()]
    order = np.argsort(shard_of_row, kind="stable")  # radix sort on 16 bits
    ends = np.cumsum(np.bincount(shard_of_row, minlength=shards))
    for shard, (begin, end) in enumerate(zip(np.concatenate(([0], ends[:-1])), ends, strict=True)):
        if end > begin:
            yield shard, compact(block.take(pa.array(order[begin:end])))


def compact(block: pa.RecordBatch) -> pa.RecordBatch:
    """Return the same rows with dictionaries that hold only the ids in use."""
    columns = dict(zip(block.schema.names, block.columns, strict=True))
    for name in ("user_id", "item_id"):
        indices = columns[name].indices.to_numpy()
        used = np.zeros(len(columns[name].dictionary), np.bool_)
        used[indices] = True
        codes = (np.cumsum(used, dtype=np.int32) - np.int32(1))[indices]
        ids = columns[name].dictionary.filter(pa.array(used))
        columns[name] = pa.DictionaryArray.from_arrays(pa.array(codes), ids, safe=False)
    return pa.RecordBatch.from_pydict(columns)


def concatenate_blocks(blocks: Sequence[pa.RecordBatch]) -> UserShard:
    """Return all interactions of the blocks, unchanged and in order."""
    users, user_codes = _unify([block.column("user_id") for block in blocks])
    items, item_codes = _unify([block.column("item_id") for block in blocks])
    order = pc.array_sort_indices(items)  # so a user's items are in the order of their ids, now and after numbering
    rank = np.empty(len(items), np.int64)
    rank[order.to_numpy()] = np.arange(len(items))
    items, item_codes = items.take(order), rank[item_codes]
    return UserShard(users, items, user_codes, item_codes, _floats(blocks), _times(blocks))


def merge_entries(shard: UserShard, weights: npt.NDArray[np.float64] | None, rule: DedupeRule) -> UserShard:
    """Merge a shard's interactions into one entry per user and item.

    Args:
        shard: The interactions.
        weights: Weights to use instead of the shard's own, for example decayed ones, float64 [entries].
        rule: Which interaction counts, as in `deduplicate`.

    Raises:
        BadInput: A sum of weights is too large, as in `deduplicate`.
    """
    width = np.int64(max(1, len(shard.items)))
    merged = deduplicate(shard.user_codes * width + shard.item_codes, weights, shard.timestamps, rule)
    user_codes, item_codes = np.divmod(merged.keys, width)
    return UserShard(shard.users, shard.items, user_codes, item_codes, merged.weights, merged.timestamps)


def to_block(shard: UserShard) -> pa.RecordBatch:
    """Return the shard's interactions as a block that can be stored and merged again."""
    columns = {
        "user_id": pa.DictionaryArray.from_arrays(pa.array(shard.user_codes.astype(np.int32)), shard.users),
        "item_id": pa.DictionaryArray.from_arrays(pa.array(shard.item_codes.astype(np.int32)), shard.items),
    }
    if shard.weights is not None:
        columns["weight"] = pa.array(shard.weights)
    if shard.timestamps is not None:
        columns["timestamp"] = pa.array(shard.timestamps)
    return pa.RecordBatch.from_pydict(columns)


def _unify(columns: Sequence[pa.DictionaryArray]) -> tuple[pa.StringArray, npt.NDArray[np.int64]]:
    if not columns:
        return pa.array([], pa.string()), np.zeros(0, np.int64)
    unified = pa.chunked_array(columns).unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in unified.chunks]).astype(np.int64)
    return unified.chunk(0).dictionary, codes


def _floats(blocks: Sequence[pa.RecordBatch]) -> npt.NDArray[np.float64] | None:
    if not any("weight" in block.schema.names for block in blocks):
        return None
    return np.concatenate(
        [b.column("weight").to_numpy() if "weight" in b.schema.names else np.ones(len(b)) for b in blocks]
    )


def _times(blocks: Sequence[pa.RecordBatch]) -> npt.NDArray[np.int64] | None:
    if not blocks or not all("timestamp" in block.schema.names for block in blocks):
        return None
    return np.concatenate([block.column("timestamp").to_numpy() for block in blocks])
