"""Training examples made up in tests, written as the features folder's contract says."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from pipelines.vae_train.config import ModelConfig, TrainingConfig

__all__ = ["TINY", "User", "clustered_users", "quick", "write_features", "write_split"]

User = dict[str, object]
"""user_key (uint64), item_ids, and optionally weights, target_ids, side_<column>."""

TINY = ModelConfig(hidden=12, latent=4)
"""A model that trains in no time."""


def quick(**changes: object) -> TrainingConfig:
    """A training of a second or two."""
    return TrainingConfig(**{"epochs": 3, "batch_users": 16, "learning_rate": 5e-3, "deterministic": True, **changes})


def clustered_users(users: int, items: int, seed: int, targets: int = 0) -> list[User]:
    """Users who like items of one of two halves of the catalogue; some of each history is asked for if `targets`."""
    rng = np.random.default_rng(seed)
    made: list[User] = []
    for _ in range(users):
        half = int(rng.integers(2)) * (items // 2)
        length = int(rng.integers(4, 10))
        liked = half + rng.choice(items // 2, length + targets, replace=False)
        user: User = {"user_key": int(rng.integers(0, 1 << 63)) * 2 + 1, "item_ids": liked[:length].tolist()}
        if targets:
            user["target_ids"] = liked[length:].tolist()
        made.append(user)
    return made


def write_features(
    folder: pathlib.Path, items: int = 30, users: int = 100, held: int = 20, shards: int = 3, seed: int = 5
) -> str:
    """A features folder with training and validation users."""
    write_split(folder, "train", clustered_users(users, items, seed), shards)
    write_split(folder, "validation", clustered_users(held, items, seed + 1, targets=3), 1)
    return str(folder)


def write_split(folder: pathlib.Path, split: str, users: Sequence[User], shards: int = 1) -> None:
    """Write users to files of a split, user i to file i mod shards."""
    (folder / "examples").mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        path = folder / "examples" / f"{split}-{shard:05d}-of-{shards:05d}.gz"
        with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type="GZIP")) as file:
            for user in users[shard::shards]:
                file.write(example(user))


def example(user: Mapping[str, object]) -> bytes:
    """A user's serialized tf.train.Example."""
    values = dict(user)
    key = int(values.pop("user_key"))  # type: ignore[call-overload]
    weights = values.pop("weights", [1.0] * len(values["item_ids"]))  # type: ignore[arg-type]
    features = {
        "user_key": tf.train.Feature(int64_list=tf.train.Int64List(value=[key - (1 << 64) if key >> 63 else key])),
        "weights": tf.train.Feature(float_list=tf.train.FloatList(value=weights)),
    }
    for name, numbers in values.items():
        features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=numbers))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
