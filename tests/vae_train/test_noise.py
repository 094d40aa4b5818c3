"""Counter-based random numbers: the published generator, its moments, and independence of batch and row."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from pipelines.vae_train.model.noise import DROPOUT, LATENT, mix, normal, uniform, uniform64, user_stream
from tests.vae_train import model_oracle as oracle

WORDS = st.integers(0, 2**64 - 1)


def keys(count: int, seed: int = 1) -> tf.Tensor:
    return mix(mix(seed, 2), tf.range(count, dtype=tf.int64))


def test_mix_is_splitmix64() -> None:
    """The reference implementation (Vigna, splitmix64.c): state 0 gives 0xE220A8397B1DCDAF first; 1234567 as below."""
    assert int(mix(0, 0)) == 0xE220A8397B1DCDAF
    first_three = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert mix(1234567, tf.range(3, dtype=tf.int64)).numpy().tolist() == first_three


@given(a=WORDS, b=WORDS)
def test_mix_is_its_twin_in_python_integers(a: int, b: int) -> None:
    assert int(mix(tf.constant(a, tf.uint64), tf.constant(b, tf.uint64))) == oracle.mix(a, b) == int(mix(a, b))


@given(seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 10_000), user=WORDS)
def test_a_user_stream_depends_on_seed_pass_purpose_and_user(seed: int, epoch: int, user: int) -> None:
    noise = oracle.NoiseKeys(seed, epoch, 0)
    for purpose in (DROPOUT, LATENT):
        found = user_stream(seed, tf.constant(epoch, tf.int64), tf.constant([user], tf.uint64), purpose)
        assert found.numpy().tolist() == [oracle.stream(user, purpose, noise)]


@given(key=WORDS)
def test_uniform_and_normal_are_their_twins(key: int) -> None:
    of = tf.constant([key], tf.uint64)
    assert float(uniform(of)[0]) == oracle.uniform(key)
    assert float(normal(of)[0]) == pytest.approx(oracle.normal(key), abs=2e-5)


@pytest.mark.parametrize("key", [0, 2**64 - 1, 2**41 - 1, 2**41])
def test_no_key_gives_0_or_1_or_an_infinite_normal(key: int) -> None:
    of = tf.constant([key], tf.uint64)
    assert 0 < float(uniform(of)[0]) < 1
    assert 0 < float(uniform64(of)[0]) < 1
    assert abs(float(normal(of)[0])) < 5.8


def test_uniform_numbers_have_the_moments_of_their_law() -> None:
    """n = 200,000: standard error of the mean 1 / sqrt(12 n) = 0.00065, of a decile's share 0.00067."""
    for numbers in (uniform(keys(200_000)).numpy(), uniform64(keys(200_000)).numpy()):
        assert numbers.mean() == pytest.approx(0.5, abs=0.003)
        assert numbers.var() == pytest.approx(1 / 12, abs=0.001)
        assert np.histogram(numbers, 10, (0, 1))[0] / 200_000 == pytest.approx(np.full(10, 0.1), abs=0.003)


def test_normal_numbers_have_standard_deviation_1() -> None:
    """n = 200,000: standard errors 0.0022 of the mean, 0.0016 of the deviation, 0.011 of the fourth moment."""
    numbers = normal(keys(200_000)).numpy().astype(np.float64)
    assert numbers.mean() == pytest.approx(0, abs=0.01)
    assert numbers.std() == pytest.approx(1, abs=0.007)
    assert (numbers**3).mean() == pytest.approx(0, abs=0.04)
    assert (numbers**4).mean() == pytest.approx(3, abs=0.1)


def test_streams_of_users_dimensions_and_passes_are_uncorrelated() -> None:
    users = tf.range(2_000, dtype=tf.int64)
    dimensions = tf.range(20, dtype=tf.int64)
    columns = [
        normal(mix(user_stream(1, epoch, users, purpose)[:, None], dimensions)).numpy()
        for epoch in (0, 1)
        for purpose in (DROPOUT, LATENT)
    ]
    correlations = np.corrcoef(np.concatenate(columns, axis=1).T)
    assert np.abs(correlations - np.eye(80)).max() < 0.11  # 3,160 pairs, each with a standard error of 0.022


def test_a_user_draws_the_same_in_any_batch_and_row() -> None:
    users = tf.constant(oracle.KEYS, tf.uint64)
    whole = user_stream(4, 5, users, LATENT).numpy()
    turned = user_stream(4, 5, users[::-1], LATENT).numpy()
    alone = [int(user_stream(4, 5, users[i : i + 1], LATENT)[0]) for i in range(len(oracle.KEYS))]
    assert whole.tolist() == turned[::-1].tolist() == alone
