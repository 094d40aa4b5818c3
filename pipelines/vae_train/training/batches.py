"""Training examples as an endless row of batches, pass after pass, from any batch of any pass on.

Users who all fit in `shuffle_users` are decoded once and held in memory; their order is then a function of (seed, pass,
user) alone. More of them are read anew in every pass: shards in the order of a hash, users sorted by theirs within
windows of `shuffle_users`. Either way the same arguments give the same batches, whatever the threads. The last batch of
a pass may be smaller; no batch holds users of two passes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pipelines.vae_train.config import TrainingConfig
from pipelines.vae_train.features.examples import parse
from pipelines.vae_train.model.interface import Batch
from pipelines.vae_train.training import order, reading
from transforms.errors import BadInput

__all__ = ["TrainingExamples", "open_examples", "training_batches"]

_AHEAD = 8
"""Batches prepared while one is trained on: 8 x 500 users are a few MB."""
_CYCLE = 4
"""Shards read at a time. Fixed, because it decides the order of users in a window."""
_KEY = {"user_key": tf.io.FixedLenFeature([], tf.int64)}


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingExamples:
    """Where the training users are. users: how many. held: the users in memory, None if there are too many."""

    shards: tuple[str, ...]
    sides: tuple[str, ...]
    users: int
    held: reading.Users | None


def open_examples(features_dir: str, shuffle_users: int, sides: Sequence[str] = ()) -> TrainingExamples:
    """Read the training split, to memory where it fits. Raises BadInput if it is empty or damaged."""
    shards = tuple(reading.shards_of(features_dir, "train"))
    held = reading.decode(shards, sides, limit=shuffle_users)
    users = len(held) if held is not None else reading.count_users(shards)
    if users == 0:
        raise BadInput(f"{features_dir}: holds no training user; loosen the limits on users and items")
    return TrainingExamples(shards, tuple(sides), users, held)


def training_batches(
    examples: TrainingExamples, config: TrainingConfig, pass_number: int = 0, start_batch: int = 0
) -> tf.data.Dataset:
    """Batches (model.interface.Batch) of pass `pass_number` from batch `start_batch` on, and of all passes after it."""
    passes = tf.data.Dataset.counter(pass_number)
    if examples.held is None:
        batches = passes.flat_map(_StreamedPass(examples.shards, config)).skip(start_batch)
        parsed = functools.partial(_parsed_batch, sides=examples.sides)
        batches = batches.map(parsed, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    else:
        held = _HeldUsers(examples.held, config)
        batches = passes.flat_map(held.order).skip(start_batch)
        batches = batches.map(held.batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return batches.prefetch(_AHEAD)


class _HeldUsers:
    """Users in memory, as tensors that the data graph gathers from."""

    def __init__(self, users: reading.Users, config: TrainingConfig) -> None:
        self._config = config
        self._keys = tf.constant(users.keys)
        items = tf.constant(users.items.items)
        self._items = tf.RaggedTensor.from_row_splits(items, tf.constant(users.items.indptr), validate=False)
        self._weights = self._items.with_values(tf.constant(users.weights))
        self._sides = {name: self._items.with_values(tf.constant(values)) for name, values in users.sides.items()}

    def order(self, pass_number: Any) -> tf.data.Dataset:
        """Rows of the pass, int64 [b] each."""
        rows = order.user_order(self._keys, self._config.seed, pass_number)
        return tf.data.Dataset.from_tensor_slices(rows).batch(self._config.batch_users)

    def batch(self, rows: Any) -> Batch:
        """The users of the rows."""
        sides = {name: tf.cast(tf.gather(side, rows), tf.int64) for name, side in self._sides.items()}
        items = tf.cast(tf.gather(self._items, rows), tf.int64)
        return Batch(tf.gather(self._keys, rows), items, tf.gather(self._weights, rows), sides)


class _StreamedPass:
    """A pass over files that do not fit in memory, as serialized examples, string [b] each."""

    def __init__(self, shards: tuple[str, ...], config: TrainingConfig) -> None:
        self._shards = shards
        self._config = config

    def __call__(self, pass_number: Any) -> tf.data.Dataset:
        config = self._config
        places = order.shard_order(len(self._shards), config.seed, pass_number)
        files = tf.data.Dataset.from_tensor_slices(tf.gather(tf.constant(self._shards), places))
        serialized = files.interleave(
            _read_shard, cycle_length=_CYCLE, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

        def sorted_window(window: Any) -> Any:
            keys = tf.bitcast(tf.io.parse_example(window, _KEY)["user_key"], tf.uint64)
            return tf.gather(window, order.user_order(keys, config.seed, pass_number))

        return serialized.batch(config.shuffle_users).map(sorted_window).unbatch().batch(config.batch_users)


def _read_shard(file: Any) -> tf.data.Dataset:
    return tf.data.TFRecordDataset(file, compression_type="GZIP", buffer_size=reading.READ_BYTES)


def _parsed_batch(serialized: Any, sides: Sequence[str]) -> Batch:
    known = reading.known_of(parse(serialized, sides), sides)
    return Batch(known.keys, known.items, known.weights, known.sides)
