"""Random numbers that are a function of what they are for: seed, pass, user, purpose, item or dimension.

So a user draws the same noise in whatever batch and row, on any number of devices, and after a restart in the middle
of a pass. A key is a uint64 well mixed by `mix` (one step of SplitMix64, Steele et al. 2014, from a state that depends
on both arguments); a chain of `mix` holds one link per thing a number depends on. There is no state to save.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

__all__ = ["DROPOUT", "LATENT", "NEGATIVES", "mix", "normal", "uniform", "uniform64", "user_stream"]

DROPOUT, LATENT, NEGATIVES = 1, 2, 3
"""Purposes: streams of one user that share nothing."""

GOLDEN = 0x9E3779B97F4A7C15
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mix(a: Any, b: Any) -> Any:
    """The b-th number of the SplitMix64 stream of a: uint64, broadcast. a: a key, or a seed; b: any uint64."""
    state = _u64(a) + (_u64(b) + _u64(1)) * _u64(GOLDEN)
    state = (state ^ tf.bitwise.right_shift(state, _u64(30))) * _u64(FIRST)
    state = (state ^ tf.bitwise.right_shift(state, _u64(27))) * _u64(SECOND)
    return state ^ tf.bitwise.right_shift(state, _u64(31))


def user_stream(seed: Any, pass_number: Any, user_keys: Any, purpose: int) -> Any:
    """Keys uint64 [b] of the users' streams. seed, pass_number: integer scalars; user_keys: uint64 [b]."""
    return mix(mix(mix(seed, pass_number), purpose), user_keys)


def uniform(keys: Any) -> Any:
    """float32 in (0, 1), of keys that `mix` made: their upper 23 bits, at the middle of their step, hence never 0 or 1.

    One bit more would not be exact in float32, and the largest would round to 1.
    """
    return _unit(tf.bitwise.right_shift(keys, _u64(41)))


def uniform64(keys: Any) -> Any:
    """float64 in (0, 1), of keys that `mix` made: their upper 52 bits, at the middle of their step."""
    return (tf.cast(tf.bitwise.right_shift(keys, _u64(12)), tf.float64) + 0.5) * 2.0**-52


def normal(keys: Any) -> Any:
    """Standard normal float32, one per key that `mix` made: Box and Muller's of its upper and its lower 23 bits.

    At most 5.8 in size. The last bit may depend on the device and on the place in the tensor, as that of log and cos.
    """
    radius = tf.sqrt(-2.0 * tf.math.log(uniform(keys)))
    angle = _unit(tf.bitwise.bitwise_and(keys, _u64(2**23 - 1))) * (2.0 * math.pi)
    return radius * tf.cos(angle)


def _unit(bits23: Any) -> Any:
    return (tf.cast(bits23, tf.float32) + 0.5) * 2.0**-23


def _u64(value: Any) -> Any:
    """A constant, or a tensor of any integer type by its bits."""
    if isinstance(value, int):
        return tf.constant(value % 2**64, tf.uint64)
    value = tf.convert_to_tensor(value)
    return value if value.dtype == tf.uint64 else tf.bitcast(tf.cast(value, tf.int64), tf.uint64)
