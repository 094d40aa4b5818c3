"""Order the users and the shards of a pass over the training examples.

The order of users depends only on a hash of seed, pass and user. Shards are ordered by the same hash of their position
in the sorted file names. The functions build a TensorFlow graph, and all arithmetic is uint64.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from pipelines.vae_train.model.noise import user_stream

__all__ = ["shard_order", "user_order"]

_USERS, _SHARDS = 0x75736572, 0x73686172
"""Purposes, as in model.noise, which uses small numbers. These are the ASCII codes of `user` and `shar`."""


def user_order(user_keys: Any, seed: int, pass_number: Any) -> Any:
    """Return the order of the users in a pass: user_keys[user_order(...)] is sorted by the hash.

    Args:
        user_keys: uint64 [n], distinct.
        seed: Seed of the run.
        pass_number: int64 scalar, from 0.

    Returns:
        int64 [n].
    """
    return _sorted(user_stream(seed, pass_number, user_keys, _USERS))


def shard_order(shards: int, seed: int, pass_number: Any) -> Any:
    """Return the order of the shards in a pass, int64 [shards]."""
    return _sorted(user_stream(seed, pass_number, tf.range(shards, dtype=tf.int64), _SHARDS))


def _sorted(hashes: Any) -> Any:
    return tf.cast(tf.argsort(hashes, stable=True), tf.int64)
