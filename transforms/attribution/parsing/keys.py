"""Hash the ids of decisions and events, and choose the shard of a decision and its rewards.

The hashes are SipHash with fixed seeds, so they are the same in every process. A decision has 128 bits and an event of
it 64 more, so no collision of two ids is expected.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.hashing import siphash

__all__ = ["decision_keys", "event_keys", "shard_of"]

_HI_SEED, _LO_SEED, _EVENT_SEED = 0xD0, 0xD1, 0xE0  # any three that differ


def decision_keys(ids: Sequence[str] | pa.Array) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Compute two independent hashes of each decision_id, uint64 [n] each: the key's high and low half."""
    array = _strings(ids)
    return siphash(array, _HI_SEED), siphash(array, _LO_SEED)


def event_keys(ids: Sequence[str] | pa.Array) -> npt.NDArray[np.uint64]:
    """Compute a hash of each event_id, uint64 [n]. The decision's key and this hash identify an event."""
    return siphash(_strings(ids), _EVENT_SEED)


def shard_of(lo: npt.NDArray[np.uint64], shards: int) -> npt.NDArray[np.int32]:
    """Return the shard of each decision key, 0 to shards - 1, by its low half.

    Raises:
        ValueError: There is less than one shard.
    """
    if shards < 1:
        raise ValueError(f"shard_of needs at least one shard, got shards={shards}")
    return (lo % np.uint64(shards)).astype(np.int32)


def _strings(ids: Sequence[str] | pa.Array) -> pa.Array:
    return ids if isinstance(ids, pa.Array) else pa.array(ids, pa.string())
