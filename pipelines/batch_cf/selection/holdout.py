"""Hold out a part of the items of some sampled users: the newest where the log has times, others by a hash.

The sums of the candidates are taken over what is left: all items of most users, and the given items of the validation
users. So they are almost as dense as the run's own sums.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.batch_cf.encoding import mix_hashes
from transforms.hashing import siphash
from transforms.histories.shards import UserShard, concatenate_blocks, to_block
from transforms.ranking.lists import Lists

__all__ = ["HELD_SHARE", "VALIDATION_USERS", "Sample", "hold_out", "join_shards"]

VALIDATION_USERS = 10_000
HELD_SHARE = 0.2
_SALT = 0xA11DA7E


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """What the candidates are computed from, and what they are measured against.

    Args:
        given: The interactions that are left, of all sampled users.
        users: int64 [validation users], codes in `given.users`, ascending.
        held: Held-out items by validation user, as codes of `given.items`, sorted.
    """

    given: UserShard
    users: npt.NDArray[np.int64]
    held: Lists


def join_shards(shards: Sequence[UserShard]) -> UserShard:
    """Join deduplicated shards of different users to one."""
    return concatenate_blocks([to_block(shard) for shard in shards if len(shard.user_codes)])


def hold_out(whole: UserShard, seed: int) -> Sample:
    """Hold out HELD_SHARE of the items of VALIDATION_USERS users, rounded, at least one and not all.

    Args:
        whole: All interactions of the sampled users, by user, then by item.
        seed: Seed of the hashes. The users with the smallest hashes validate.

    Returns:
        The sample. Users with a single item never validate.
    """
    lengths = np.bincount(whole.user_codes, minlength=len(whole.users))
    user_hashes = siphash(whole.users, seed ^ _SALT)
    able = np.flatnonzero(lengths > 1)
    users = np.sort(able[np.argsort(user_hashes[able], kind="stable")[:VALIDATION_USERS]])
    chosen = np.zeros(len(lengths), np.bool_)
    chosen[users] = True

    item_hashes = siphash(whole.items, seed ^ _SALT)
    mixed = mix_hashes(user_hashes[whole.user_codes], item_hashes[whole.item_codes])
    newest = np.zeros(len(mixed), np.int64) if whole.timestamps is None else -whole.timestamps
    order = np.lexsort((mixed, newest, whole.user_codes))
    starts = np.cumsum(lengths) - lengths
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - starts[whole.user_codes[order]]
    held_lengths = np.minimum(lengths - 1, np.maximum(1, np.rint(lengths * HELD_SHARE))).astype(np.int64)
    held = chosen[whole.user_codes] & (place < held_lengths[whole.user_codes])

    number = np.cumsum(chosen) - 1
    rows, items = number[whole.user_codes[held]], whole.item_codes[held]
    return Sample(whole.select(~held), users, Lists.from_pairs(rows, items.astype(np.int32), len(users)))
