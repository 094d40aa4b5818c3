"""Compute random numbers as a function of their keys: seed, pass, user, purpose, item or dimension.

A user therefore draws the same noise in any batch and row, on any number of devices, and after a restart in the middle
of a pass. A key is a uint64 from `mix`, which takes one step of SplitMix64 (Steele et al. 2014) from a state that
depends on both arguments. A chain of `mix` calls has one call per key. There is no state to save.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

__all__ = ["DROPOUT", "LATENT", "NEGATIVES", "mix", "normal", "uniform", "uniform64", "user_stream"]

DROPOUT, LATENT, NEGATIVES = 1, 2, 3
"""Purposes. A user has an independent stream for each."""

GOLDEN = 0x9E3779B97F4A7C15
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mix(a: Any, b: Any) -> Any:
    """Return the b-th number of the SplitMix64 stream of a.

    Args:
        a: A key or a seed.
        b: Any uint64.

    Returns:
        uint64 of the shape to which a and b broadcast.
    """
    state = _u64(a) + (_u64(b) + _u64(1)) * _u64(GOLDEN)
    state = (state ^ tf.bitwise.right_shift(state, _u64(30))) * _u64(FIRST)
    state = (state ^ tf.bitwise.right_shift(state, _u64(27))) * _u64(SECOND)
    return state ^ tf.bitwise.right_shift(state, _u64(31))


def user_stream(seed: Any, pass_number: Any, user_keys: Any, purpose: int) -> Any:
    """Return the keys of the users' streams.

    Args:
        seed: Integer scalar.
        pass_number: Integer scalar.
        user_keys: uint64 [b].
        purpose: DROPOUT or LATENT.

    Returns:
        uint64 [b].
    """
    return mix(mix(mix(seed, pass_number), purpose), user_keys)


def uniform(keys: Any) -> Any:
    """Return a uniform float32 between 0 and 1, both excluded, per key of `mix`.

    The number is the key's upper 23 bits plus half a step. With 24 bits it would not be exact in float32, and the
    largest number would round to 1.
    """
    return _unit(tf.bitwise.right_shift(keys, _u64(41)))


def uniform64(keys: Any) -> Any:
    """Return a uniform float64 between 0 and 1, both excluded, per key of `mix`: its upper 52 bits plus half a step."""
    return (tf.cast(tf.bitwise.right_shift(keys, _u64(12)), tf.float64) + 0.5) * 2.0**-52


def normal(keys: Any) -> Any:
    """Return a standard normal float32 per key of `mix`.

    The method is that of Box and Muller with the key's upper and lower 23 bits. The absolute value is at most 5.8. The
    last bit may depend on the device and on the place in the tensor, because the last bits of log and cos do.
    """
    radius = tf.sqrt(-2.0 * tf.math.log(uniform(keys)))
    angle = _unit(tf.bitwise.bitwise_and(keys, _u64(2**23 - 1))) * (2.0 * math.pi)
    return radius * tf.cos(angle)


def _unit(bits23: Any) -> Any:
    return (tf.cast(bits23, tf.float32) + 0.5) * 2.0**-23


def _u64(value: Any) -> Any:
    """Convert an integer constant or a tensor of any integer type to uint64 with the same bits."""
    if isinstance(value, int):
        return tf.constant(value % 2**64, tf.uint64)
    value = tf.convert_to_tensor(value)
    return value if value.dtype == tf.uint64 else tf.bitcast(tf.cast(value, tf.int64), tf.uint64)
