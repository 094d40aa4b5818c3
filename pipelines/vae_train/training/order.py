"""In which order a pass over the training examples sees the users: by a hash of seed, pass and user, and nothing else.

The functions build TensorFlow graph; the arithmetic is uint64 throughout. Shards are put in order by the same hash, of
their place among the file names.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from pipelines.vae_train.model.noise import user_stream

__all__ = ["shard_order", "user_order"]

_USERS, _SHARDS = 0x75736572, 0x73686172
"""Purposes as those of model.noise, which have small numbers: the ASCII of user and of shar."""


def user_order(user_keys: Any, seed: int, pass_number: Any) -> Any:
    """The users' places in the order of a pass, int64 [n]: user_keys[user_order(...)] is sorted by the hash.

    user_keys: uint64 [n], distinct; pass_number: int64 scalar, from 0.
    """
    return _sorted(user_stream(seed, pass_number, user_keys, _USERS))


def shard_order(shards: int, seed: int, pass_number: Any) -> Any:
    """The shards' places in the order of a pass, int64 [shards]."""
    return _sorted(user_stream(seed, pass_number, tf.range(shards, dtype=tf.int64), _SHARDS))


def _sorted(hashes: Any) -> Any:
    return tf.cast(tf.argsort(hashes, stable=True), tf.int64)
