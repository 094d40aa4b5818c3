"""The sampled softmax: the full one when every item is a candidate, unbiased when not."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from pipelines.vae_train.model.interface import NoiseKeys
from pipelines.vae_train.model.likelihood import multinomial
from pipelines.vae_train.model.sampled import log_uniform_negatives, sampled_multinomial
from tests.vae_train import model_oracle as oracle
from tests.vae_train.test_likelihood import WEIGHTS, parameters


def noise(step: int) -> NoiseKeys:
    return NoiseKeys(7, 3, tf.constant(step, tf.int64))


def sampled(variables, negatives, log_chance, precision: str = "float32") -> tf.Tensor:
    ids, weights = oracle.ragged(oracle.HISTORIES), oracle.ragged(WEIGHTS, np.float32)
    return sampled_multinomial(*variables, ids, weights, precision, negatives, log_chance)


def full(variables) -> tf.Tensor:
    return multinomial(*variables, oracle.ragged(oracle.HISTORIES), oracle.ragged(WEIGHTS, np.float32))


def test_with_all_items_as_candidates_it_is_the_full_softmax() -> None:
    variables = parameters()
    everything = tf.random.shuffle(tf.range(oracle.ITEMS, dtype=tf.int64), seed=1)
    certain = tf.zeros([oracle.ITEMS])
    found, slopes = oracle.gradients(lambda: tf.reduce_sum(sampled(variables, everything, certain)), variables)
    expected, expected_slopes = oracle.gradients(lambda: tf.reduce_sum(full(variables)), variables)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for slope, expected_slope in zip(slopes, expected_slopes, strict=True):
        np.testing.assert_allclose(slope, expected_slope, rtol=1e-4, atol=1e-5)


def test_the_normaliser_is_unbiased() -> None:
    """Mean over 2,000 draws of the estimated sum of exp(logit); the third user has no weight and no estimate."""
    variables = parameters(0.7)
    weights = tf.constant([sum(row) for row in WEIGHTS])
    own = tf.constant(oracle.dense(oracle.HISTORIES, WEIGHTS)) * (
        tf.matmul(variables[0], variables[1], transpose_b=True) + variables[2]
    )

    @tf.function
    def normalisers(step: tf.Tensor) -> tf.Tensor:
        value = sampled(variables, *log_uniform_negatives(oracle.ITEMS, 4, noise(0)._replace(step=step)))
        return tf.exp(tf.math.divide_no_nan(tf.reduce_sum(own, axis=1) - value, weights))

    draws = np.array([normalisers(tf.constant(step, tf.int64)) for step in range(2000)])
    exact = tf.reduce_sum(
        tf.exp(tf.matmul(variables[0], variables[1], transpose_b=True) + variables[2]), axis=1
    ).numpy()
    error = draws.std(0) / np.sqrt(len(draws))
    for user in (0, 1, 3):
        assert draws[:, user].mean() == pytest.approx(exact[user], abs=4 * error[user])
        assert error[user] < 0.05 * exact[user]


def test_more_negatives_come_closer_to_the_full_softmax() -> None:
    variables = parameters()
    exact = full(variables).numpy()

    def error(samples: int) -> float:
        draws = [sampled(variables, *log_uniform_negatives(oracle.ITEMS, samples, noise(s))).numpy() for s in range(40)]
        return float(np.abs(np.mean(draws, axis=0) - exact).max())

    assert error(60) < 0.1 * error(3)


def test_the_chance_of_a_negative_is_how_often_it_is_drawn() -> None:
    """3,000 steps: the standard error of a share is at most 0.009."""
    seen, chance = np.zeros(20), np.full(20, np.nan)

    @tf.function
    def draw(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return log_uniform_negatives(20, 10, noise(0)._replace(step=step))

    for step in range(3000):
        ids, log_chance = (tensor.numpy() for tensor in draw(tf.constant(step, tf.int64)))
        assert len(set(ids)) == len(ids) <= 10
        seen[ids] += 1
        chance[ids] = np.exp(log_chance)
    np.testing.assert_allclose(seen / 3000, chance, atol=0.035)
    assert (np.diff(chance) < 0).all(), "frequent items come first and are drawn more often"


@pytest.mark.parametrize("items", [2, 100, 5_000_000])
def test_negatives_stay_in_the_catalogue(items: int) -> None:
    ids, log_chance = log_uniform_negatives(items, 5_000, noise(1))
    assert 0 <= ids.numpy().min() <= ids.numpy().max() < items
    assert np.isfinite(log_chance).all()
    assert (log_chance.numpy() <= 0).all()


def test_negatives_depend_on_the_step_and_on_nothing_else() -> None:
    first, again, other = (log_uniform_negatives(1000, 50, noise(s))[0].numpy().tolist() for s in (1, 1, 2))
    assert first == again != other


def test_gradients_of_the_catalogue_are_the_candidates_rows_each_once() -> None:
    hidden, kernel, bias = parameters()
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(sampled((hidden, kernel, bias), *log_uniform_negatives(oracle.ITEMS, 2, noise(1))))
    for gradient in tape.gradient(value, [kernel, bias]):
        assert isinstance(gradient, tf.IndexedSlices)
        rows = gradient.indices.numpy().tolist()
        assert len(set(rows)) == len(rows)
        assert {item for history in oracle.HISTORIES for item in history} <= set(rows)


def test_a_batch_without_items_has_likelihood_1() -> None:
    hidden, kernel, bias = parameters()
    empty = oracle.ragged([[], []]), oracle.ragged([[], []], np.float32)
    found = sampled_multinomial(hidden[:2], kernel, bias, *empty, "float32", *log_uniform_negatives(9, 3, noise(1)))
    assert found.numpy().tolist() == [0, 0]


def test_bfloat16_products_are_close() -> None:
    variables = parameters()
    drawn = log_uniform_negatives(oracle.ITEMS, 4, noise(5))
    exact = sampled(variables, *drawn)
    np.testing.assert_allclose(sampled(variables, *drawn, "bfloat16"), exact, rtol=0.03, atol=0.1)
