"""Read the examples of a split and drop the items outside the vocabulary.

The result is tensors in tf.data, or plain arrays. This module does not order users.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipelines.vae_train.features.examples import parse
from pipelines.vae_train.features.preprocessing import ITEM_IDS, SIDE_PREFIX, TARGET_IDS
from transforms.errors import BadInput
from transforms.ranking.lists import Lists

__all__ = [
    "READ_BYTES",
    "Known",
    "Users",
    "count_users",
    "decode",
    "known_of",
    "named_faults",
    "read_users",
    "shards_of",
]

READ_BYTES = 4 << 20
"""Compressed bytes to read ahead per shard."""
_BLOCK_USERS = 4_096
"""Users to parse at a time. 4,096 users of 100 items take about 5 MB."""


@dataclasses.dataclass(frozen=True, eq=False)
class Users:
    """Users with their items in the vocabulary, each once, oldest first.

    Attributes:
        keys: uint64 [users].
        items: Item indices int32 of each user.
        weights: float32 [sum of lengths].
        sides: int32 [sum of lengths] per side column.
        targets: Target item indices, -1 for an item outside the vocabulary. Users of the training split have none.
    """

    keys: npt.NDArray[np.uint64]
    items: Lists
    weights: npt.NDArray[np.float32]
    sides: Mapping[str, npt.NDArray[np.int32]]
    targets: Lists

    def __len__(self) -> int:
        return len(self.keys)


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """Parsed users as tensors.

    Attributes:
        keys: uint64 [b].
        items: RaggedTensor int64 [b, (n)].
        weights: RaggedTensor float32 [b, (n)].
        sides: One RaggedTensor int64 [b, (n)] per side column.
    """

    keys: Any
    items: Any
    weights: Any
    sides: dict[str, Any]


def shards_of(features_dir: str, split: str) -> list[str]:
    """Return the files of a split, sorted by name. A split may have none."""
    found: list[str] = tf.io.gfile.glob(tf.io.gfile.join(features_dir, "examples", f"{split}-*.gz"))
    return sorted(found)


def known_of(parsed: Mapping[str, Any], sides: Sequence[str]) -> Known:
    """Drop the items outside the vocabulary from parsed examples, in every column.

    The result equals that of features.known.known_history. That function also looks for repeated items, which would
    take two thirds of the reading time. Examples contain no repeated items.
    """
    items = parsed[ITEM_IDS]
    known = items.values >= 0
    before = tf.concat([tf.zeros([1], tf.int64), tf.cumsum(tf.cast(known, tf.int64))], axis=0)
    places = tf.where(known)[:, 0]
    splits = tf.gather(before, items.row_splits)
    kept = tf.RaggedTensor.from_row_splits(tf.gather(items.values, places), splits, validate=False)
    weights = kept.with_values(tf.gather(parsed["weights"].values, places))
    others = {column: kept.with_values(tf.gather(parsed[SIDE_PREFIX + column].values, places)) for column in sides}
    return Known(tf.bitcast(parsed["user_key"], tf.uint64), kept, weights, others)


def count_users(shards: Sequence[str]) -> int:
    """Count the examples in the files.

    Raises:
        BadInput: A file is damaged.
    """
    with named_faults(shards):
        return int(_serialized(shards).reduce(np.int64(0), _add_length).numpy())


def read_users(features_dir: str, split: str, sides: Sequence[str] = ()) -> Users:
    """Read all users of a split.

    Args:
        features_dir: Folder of the features.
        split: `train`, `validation` or `test`.
        sides: Names of the side columns.

    Raises:
        BadInput: A file is damaged.
    """
    users = decode(shards_of(features_dir, split), sides, targets=split != "train")
    assert users is not None  # no limit was given
    return users


def decode(
    shards: Sequence[str], sides: Sequence[str] = (), *, targets: bool = False, limit: int | None = None
) -> Users | None:
    """Decode the users of the files, in the order of the files.

    Args:
        shards: Paths of the files.
        sides: Names of the side columns.
        targets: Whether to read the targets.
        limit: Largest number of users. None for no limit.

    Returns:
        The users, or None if there are more than `limit`.

    Raises:
        BadInput: A file is damaged.
    """
    parts: list[Users] = []
    arrays = functools.partial(_arrays, sides=tuple(sides), targets=targets)
    with named_faults(shards):
        for block in _serialized(shards).map(arrays, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2):
            parts.append(_to_users(block))
            if limit is not None and sum(map(len, parts)) > limit:
                return None
    return _joined(parts)


@contextlib.contextmanager
def named_faults(shards: Sequence[str]) -> Iterator[None]:
    """Convert TensorFlow's errors about damaged records to BadInput with a one-line message."""
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
        place = shards[0].rpartition("/")[0] if shards else "examples"
        reason = str(error.message).partition("\n")[0].partition(" [Op:")[0]
        raise BadInput(f"{place}: cannot be read as training examples ({reason}); remove it and run again") from error


def _serialized(shards: Sequence[str]) -> Any:
    files = list(shards)
    if not files:
        return tf.data.Dataset.from_tensor_slices(tf.zeros([0, 0], tf.string))
    return tf.data.TFRecordDataset(files, compression_type="GZIP", buffer_size=READ_BYTES).batch(_BLOCK_USERS)


def _add_length(total: Any, block: Any) -> Any:
    return total + tf.size(block, tf.int64)


def _arrays(serialized: Any, sides: Sequence[str], targets: bool) -> dict[str, Any]:
    parsed = parse(serialized, sides, targets=targets)
    known = known_of(parsed, sides)
    values = {
        "keys": known.keys,
        "lengths": known.items.row_lengths(),
        "items": tf.cast(known.items.values, tf.int32),
        "weights": known.weights.values,
        **{SIDE_PREFIX + column: tf.cast(side.values, tf.int32) for column, side in known.sides.items()},
    }
    if targets:
        values["held"] = parsed[TARGET_IDS].row_lengths()
        values["targets"] = tf.cast(parsed[TARGET_IDS].values, tf.int32)
    return values


def _to_users(block: Mapping[str, Any]) -> Users:
    arrays = {name: tensor.numpy() for name, tensor in block.items()}
    held = arrays.get("held", np.zeros(len(arrays["keys"]), np.int64))
    return Users(
        keys=arrays["keys"],
        items=Lists(_splits(arrays["lengths"]), arrays["items"]),
        weights=arrays["weights"],
        sides={name.removeprefix(SIDE_PREFIX): arrays[name] for name in arrays if name.startswith(SIDE_PREFIX)},
        targets=Lists(_splits(held), arrays.get("targets", np.zeros(0, np.int32))),
    )


def _joined(parts: Sequence[Users]) -> Users:
    if not parts:
        nobody = Lists(np.zeros(1, np.int64), np.zeros(0, np.int32))
        return Users(np.zeros(0, np.uint64), nobody, np.zeros(0, np.float32), {}, nobody)
    return Users(
        keys=np.concatenate([part.keys for part in parts]),
        items=_joined_lists([part.items for part in parts]),
        weights=np.concatenate([part.weights for part in parts]),
        sides={name: np.concatenate([part.sides[name] for part in parts]) for name in parts[0].sides},
        targets=_joined_lists([part.targets for part in parts]),
    )


def _joined_lists(parts: Sequence[Lists]) -> Lists:
    lengths = np.concatenate([part.lengths() for part in parts])
    return Lists(_splits(lengths), np.concatenate([part.items for part in parts]))


def _splits(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
