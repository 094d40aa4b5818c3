"""The order of users in a pass against the same hash in plain Python integers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.vae_train.training.order import shard_order, user_order

WORD = (1 << 64) - 1


def slow_mix(a: int, b: int) -> int:
    """SplitMix64: the b-th number of the stream that begins at a."""
    state = (a + (b + 1) * 0x9E3779B97F4A7C15) & WORD
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & WORD
    return state ^ (state >> 31)


def slow_order(keys: list[int], seed: int, pass_number: int, purpose: bytes) -> list[int]:
    stream = slow_mix(slow_mix(seed, pass_number), int.from_bytes(purpose, "big"))
    return sorted(range(len(keys)), key=lambda place: slow_mix(stream, keys[place]))


@settings(max_examples=30)
@given(
    keys=st.lists(st.integers(0, WORD), max_size=40, unique=True),
    seed=st.integers(0, WORD),
    pass_number=st.integers(0, 10_000),
)
def test_users_are_sorted_by_the_hash_of_seed_pass_and_user(keys: list[int], seed: int, pass_number: int) -> None:
    found = user_order(tf.constant(np.array(keys, np.uint64)), seed, tf.constant(pass_number, tf.int64))
    assert found.dtype == tf.int64
    assert found.numpy().tolist() == slow_order(keys, seed, pass_number, b"user")


def test_shards_are_sorted_by_the_hash_of_seed_pass_and_place() -> None:
    found = shard_order(7, 3, tf.constant(2, tf.int64))
    assert found.numpy().tolist() == slow_order(list(range(7)), 3, 2, b"shar")


@pytest.mark.parametrize(("seed", "pass_number"), [(2, 0), (1, 1)])
def test_another_seed_or_pass_is_another_order(seed: int, pass_number: int) -> None:
    keys = tf.constant(np.arange(100, dtype=np.uint64))
    first = user_order(keys, 1, tf.constant(0, tf.int64)).numpy()
    other = user_order(keys, seed, tf.constant(pass_number, tf.int64)).numpy()
    assert (first == other).mean() < 0.1
