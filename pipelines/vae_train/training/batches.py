"""Read training examples as an endless sequence of batches that can start at any batch of any pass.

If there are at most `shuffle_users` users, they are decoded once and held in memory. Their order then depends only on
the seed, the pass and the user. If there are more users, every pass re-reads the files. A hash orders the shards, and
users are sorted by their hash within windows of `shuffle_users`. In both cases the same arguments give the same batches
with any number of threads. The last batch of a pass may be smaller. No batch holds users of two passes.
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
"""Batches to prepare ahead of training. 8 batches of 500 users take a few MB."""
_CYCLE = 4
"""Shards to read at a time. The number is fixed because the order of users in a window depends on it."""
_KEY = {"user_key": tf.io.FixedLenFeature([], tf.int64)}


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingExamples:
    """The training examples of a run.

    Attributes:
        shards: Paths of the example files.
        sides: Names of the side columns.
        users: Number of users.
        held: The users in memory, None if there are more than `shuffle_users`.
    """

    shards: tuple[str, ...]
    sides: tuple[str, ...]
    users: int
    held: reading.Users | None


def open_examples(features_dir: str, shuffle_users: int, sides: Sequence[str] = ()) -> TrainingExamples:
    """Open the training split. Read it into memory if it fits.

    Args:
        features_dir: Folder of the features.
        shuffle_users: Largest number of users to hold in memory.
        sides: Names of the side columns.

    Raises:
        BadInput: The split is empty or damaged.
    """
    shards = tuple(reading.shards_of(features_dir, "train"))
    held = reading.decode(shards, sides, limit=shuffle_users)
    users = len(held) if held is not None else reading.count_users(shards)
    if users == 0:
        raise BadInput(f"{features_dir}: holds no training user; lower --min_user_items or --min_item_users")
    return TrainingExamples(shards, tuple(sides), users, held)


def training_batches(
    examples: TrainingExamples, config: TrainingConfig, pass_number: int = 0, start_batch: int = 0
) -> tf.data.Dataset:
    """Return the batches of a pass and of all passes after it.

    Args:
        examples: The training examples.
        config: Seed, size of a batch and of the shuffle buffer.
        pass_number: First pass, from 0.
        start_batch: First batch of that pass, from 0.

    Returns:
        An endless data set of `model.interface.Batch`.
    """
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
    """Users in memory, as tensors."""

    def __init__(self, users: reading.Users, config: TrainingConfig) -> None:
        self._config = config
        self._keys = tf.constant(users.keys)
        items = tf.constant(users.items.items)
        self._items = tf.RaggedTensor.from_row_splits(items, tf.constant(users.items.indptr), validate=False)
        self._weights = self._items.with_values(tf.constant(users.weights))
        self._sides = {name: self._items.with_values(tf.constant(values)) for name, values in users.sides.items()}

    def order(self, pass_number: Any) -> tf.data.Dataset:
        """Return the rows of each batch of a pass, int64 [b]."""
        rows = order.user_order(self._keys, self._config.seed, pass_number)
        return tf.data.Dataset.from_tensor_slices(rows).batch(self._config.batch_users)

    def batch(self, rows: Any) -> Batch:
        """Return the users of the given rows."""
        sides = {name: tf.cast(tf.gather(side, rows), tf.int64) for name, side in self._sides.items()}
        items = tf.cast(tf.gather(self._items, rows), tf.int64)
        return Batch(tf.gather(self._keys, rows), items, tf.gather(self._weights, rows), sides)


class _StreamedPass:
    """A pass over files that do not fit in memory, as batches of serialized examples, string [b]."""

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
