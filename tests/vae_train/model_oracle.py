"""The slow obvious formulas the models are compared with: noise in numpy integers, histories as dense matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipelines.vae_train.config import ModelConfig
from pipelines.vae_train.model.interface import Batch, NoiseKeys

MASK = 2**64 - 1
SMALL = ModelConfig(hidden=6, latent=4, dropout=0.5, gamma=0.05)
NOISE = NoiseKeys(seed=7, pass_number=3, step=11)
HISTORIES = [[0, 3, 5], [2], [], [8, 1, 0, 4, 6], [7, 2]]
KEYS = [5, 2**63 + 9, 17, 2**64 - 1, 123456789]
ITEMS = 9


def mix(a: int, b: int) -> int:
    """SplitMix64's output function in Python integers."""
    state = (a + (b + 1) * 0x9E3779B97F4A7C15) & MASK
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & MASK
    return state ^ (state >> 31)


def stream(user: int, purpose: int, noise: NoiseKeys = NOISE) -> int:
    return mix(mix(mix(noise.seed, noise.pass_number), purpose), user)


def uniform(key: int) -> float:
    return ((key >> 41) + 0.5) / 2**23


def normal(key: int) -> float:
    return math.sqrt(-2 * math.log(uniform(key))) * math.cos(2 * math.pi * ((key % 2**23) + 0.5) / 2**23)


def latent_noise(users: Sequence[int], width: int, noise: NoiseKeys = NOISE) -> npt.NDArray[np.float32]:
    return np.array([[normal(mix(stream(u, 2, noise), d)) for d in range(width)] for u in users], np.float32)


def dense(
    histories: Sequence[Sequence[int]], values: Sequence[Sequence[float]] | None = None
) -> npt.NDArray[np.float32]:
    """[users, ITEMS], 1 or the value at each of the histories' items."""
    matrix = np.zeros((len(histories), ITEMS), np.float32)
    for row, history in enumerate(histories):
        matrix[row, history] = 1.0 if values is None else values[row]
    return matrix


def normalised(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    length = np.sqrt(np.square(matrix).sum(1, keepdims=True))
    return np.divide(matrix, length, out=np.zeros_like(matrix), where=length > 0)


def dropped(
    matrix: npt.NDArray[np.float32], users: Sequence[int], keep: float = 0.5, noise: NoiseKeys = NOISE
) -> npt.NDArray[np.float32]:
    """Inverted dropout with the coins of users and items."""
    coins = [[uniform(mix(stream(u, 1, noise), i)) < keep for i in range(matrix.shape[1])] for u in users]
    return np.where(np.array(coins), matrix / np.float32(keep), 0).astype(np.float32)


def ragged(rows: Sequence[Sequence[Any]], kind: Any = np.int64) -> Any:
    flat = tf.constant([value for row in rows for value in row], kind)
    return tf.RaggedTensor.from_row_lengths(flat, [len(row) for row in rows])


def batch_of(
    histories: Sequence[Sequence[int]] = HISTORIES,
    users: Sequence[int] = KEYS,
    weights: Sequence[Sequence[float]] | None = None,
    sides: dict[str, Sequence[Sequence[int]]] | None = None,
) -> Batch:
    ones = [[1.0] * len(history) for history in histories]
    return Batch(
        tf.constant(users, tf.uint64),
        ragged(histories),
        ragged(weights or ones, np.float32),
        {name: ragged(rows) for name, rows in (sides or {}).items()},
    )


def gradients(loss: Any, variables: Sequence[Any]) -> tuple[Any, list[Any]]:
    """What a function without arguments returns, and the dense gradients of its `total`, or of itself; None: none."""
    with tf.GradientTape() as tape:
        result = loss()
    found = tape.gradient(getattr(result, "total", result), variables)
    return result, [None if g is None else tf.convert_to_tensor(g).numpy() for g in found]


def assert_gradients_equal(found: Sequence[Any], expected: Sequence[Any], variables: Sequence[Any]) -> None:
    for g, e, v in zip(found, expected, variables, strict=True):
        np.testing.assert_allclose(g, e, rtol=2e-4, atol=2e-5, err_msg=v.name)
        assert np.abs(e).max() > 0, f"{v.name}: a gradient of zeros proves nothing"
