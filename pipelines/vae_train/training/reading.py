"""The examples of a split, reduced to what the model knows: parsed in tf.data, or decoded to plain arrays.

No order of users is decided here.
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
"""Compressed bytes read ahead of each shard."""
_BLOCK_USERS = 4_096
"""Users parsed at a time: 4,096 x 100 items are some 5 MB."""


@dataclasses.dataclass(frozen=True, eq=False)
class Users:
    """Users with their known items, each once, oldest first.

    keys: uint64 [users]; items: int32, by user; weights: float32 [sum of lengths]; sides: int32 [sum of lengths] each;
    targets: what is asked for, -1 where unknown; empty lists for users of the training split.
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
    """Parsed users as tensors. keys: uint64 [b]; items int64, weights float32, sides int64: [b, (n)], alike ragged."""

    keys: Any
    items: Any
    weights: Any
    sides: dict[str, Any]


def shards_of(features_dir: str, split: str) -> list[str]:
    """The files of a split, by name; empty where there are none."""
    found: list[str] = tf.io.gfile.glob(tf.io.gfile.join(features_dir, "examples", f"{split}-*.gz"))
    return sorted(found)


def known_of(parsed: Mapping[str, Any], sides: Sequence[str]) -> Known:
    """Parsed examples with the items that the model does not know left out, every column alike.

    What features.known.known_history makes of them: an example holds no item twice, and to look for repeats would take
    two thirds of the time of reading.
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
    """How many examples the files hold. Raises BadInput for a damaged file."""
    with named_faults(shards):
        return int(_serialized(shards).reduce(np.int64(0), _add_length).numpy())


def read_users(features_dir: str, split: str, sides: Sequence[str] = ()) -> Users:
    """All users of a split, with the named side columns. Raises BadInput for a damaged file."""
    users = decode(shards_of(features_dir, split), sides, targets=split != "train")
    assert users is not None  # no limit was given
    return users


def decode(
    shards: Sequence[str], sides: Sequence[str] = (), *, targets: bool = False, limit: int | None = None
) -> Users | None:
    """The users of the files in their order; None as soon as there are more than `limit`. Raises BadInput."""
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
    """Raise what TensorFlow says of a damaged record as BadInput, in a sentence."""
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
