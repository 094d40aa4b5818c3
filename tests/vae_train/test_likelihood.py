"""The multinomial likelihood against dense log_softmax, value and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.vae_train.model.likelihood import multinomial, output_logits
from tests.vae_train import model_oracle as oracle

WEIGHTS = [[1.0, 0.5, 2.0], [3.0], [], [1.0, 0.0, 1.0, 0.25, 1.0], [0.0, 0.0]]
"""Of the oracle's histories: one zero among others, no item at all, and a user of zeros alone."""


def parameters(scale: float = 1.0, seed: int = 1) -> list[tf.Variable]:
    rng = np.random.default_rng(seed)
    shapes = [(5, 6), (oracle.ITEMS, 6), (oracle.ITEMS,)]
    return [tf.Variable(rng.normal(scale=scale, size=shape).astype(np.float32)) for shape in shapes]


def naive(hidden, kernel, bias, weights=WEIGHTS) -> tf.Tensor:
    target = tf.constant(oracle.dense(oracle.HISTORIES, weights))
    return tf.reduce_sum(target * tf.nn.log_softmax(tf.matmul(hidden, kernel, transpose_b=True) + bias), axis=1)


def ours(hidden, kernel, bias, weights=WEIGHTS, precision: str = "float32") -> tf.Tensor:
    ids, flat = oracle.ragged(oracle.HISTORIES), oracle.ragged(weights, np.float32)
    return multinomial(hidden, kernel, bias, ids, flat, precision)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), scale=st.sampled_from([0.1, 1.0, 5.0]))
def test_value_and_gradients_are_those_of_a_dense_log_softmax(seed: int, scale: float) -> None:
    variables = parameters(scale, seed)
    upstream = tf.constant([1.0, -2.0, 3.0, 0.5, 4.0])
    found, slopes = oracle.gradients(lambda: tf.reduce_sum(upstream * ours(*variables)), variables)
    expected, expected_slopes = oracle.gradients(lambda: tf.reduce_sum(upstream * naive(*variables)), variables)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    for slope, expected_slope in zip(slopes, expected_slopes, strict=True):
        np.testing.assert_allclose(slope, expected_slope, rtol=1e-3, atol=2e-4 * max(scale, 1))


def test_by_hand() -> None:
    """Logits 0, 0, log 2 have probabilities 1/4, 1/4, 1/2: items 0 and 2 give log 1/4 + log 1/2 = -3 log 2."""
    kernel = tf.constant([[0.0], [0.0], [np.log(2)]], tf.float32)
    ones = oracle.ragged([[1.0, 1.0]], np.float32)
    found = multinomial(tf.ones([1, 1]), kernel, tf.zeros([3]), oracle.ragged([[0, 2]]), ones)
    assert found.numpy() == pytest.approx([-3 * np.log(2)])


@pytest.mark.parametrize("shift", [-3e4, 3e4])
def test_logits_of_any_size_stay_finite(shift: float) -> None:
    hidden, kernel, bias = parameters(50.0)
    bias.assign_add(tf.fill([oracle.ITEMS], shift))
    value, slopes = oracle.gradients(lambda: tf.reduce_sum(ours(hidden, kernel, bias)), [hidden, kernel, bias])
    np.testing.assert_allclose(value, tf.reduce_sum(naive(hidden, kernel, bias)), rtol=1e-4, atol=0.05)
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_a_user_without_weight_has_likelihood_1_and_no_gradient() -> None:
    hidden, kernel, bias = parameters()
    _, (slope, *_) = oracle.gradients(lambda: tf.reduce_sum(ours(hidden, kernel, bias)), [hidden, kernel, bias])
    assert ours(hidden, kernel, bias).numpy()[[2, 4]].tolist() == [0, 0]
    assert not slope[[2, 4]].any()


def test_a_user_has_the_same_likelihood_in_any_batch() -> None:
    hidden, kernel, bias = parameters()
    whole = ours(hidden, kernel, bias).numpy()
    for row, (history, weights) in enumerate(zip(oracle.HISTORIES, WEIGHTS, strict=True)):
        ids, flat = oracle.ragged([history]), oracle.ragged([weights], np.float32)
        alone = multinomial(hidden[row : row + 1], kernel, bias, ids, flat)
        np.testing.assert_allclose(alone, whole[[row]], rtol=1e-5)


def test_bfloat16_products_are_close_and_their_gradients_float32() -> None:
    """Eight bits of mantissa: products of order 6 are off by up to 1%."""
    variables = parameters()
    value, slopes = oracle.gradients(lambda: tf.reduce_sum(ours(*variables, precision="bfloat16")), variables)
    expected, expected_slopes = oracle.gradients(lambda: tf.reduce_sum(naive(*variables)), variables)
    assert value.dtype == tf.float32
    np.testing.assert_allclose(value, expected, rtol=0.02)
    for slope, exact in zip(slopes, expected_slopes, strict=True):
        assert slope.dtype == np.float32
        assert np.linalg.norm(slope - exact) < 0.02 * np.linalg.norm(exact)


def test_the_gradient_works_inside_a_function_for_any_batch() -> None:
    """One trace for all sizes; what the scatter changes in place is nobody else's."""
    hidden, kernel, bias = parameters()
    shape = tf.RaggedTensorSpec([None, None], tf.int64, 1)
    wide = tf.RaggedTensorSpec([None, None], tf.float32, 1)

    @tf.function(input_signature=[tf.TensorSpec([None, 6]), shape, wide])
    def step(rows, ids, weights):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(multinomial(rows, kernel, bias, ids, weights))
        return value, *tape.gradient(value, [kernel, bias])

    for users in (5, 3):
        ids, weights = oracle.ragged(oracle.HISTORIES[:users]), oracle.ragged(WEIGHTS[:users], np.float32)
        value, slope, _ = step(hidden[:users], ids, weights)
        expected = tf.reduce_sum(naive(hidden, kernel, bias)[:users])
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        assert np.isfinite(slope).all()
    assert step.experimental_get_tracing_count() == 1


def test_logits_are_a_row_per_item() -> None:
    hidden, kernel, bias = parameters()
    np.testing.assert_allclose(
        output_logits(hidden, kernel, bias), hidden.numpy() @ kernel.numpy().T + bias.numpy(), rtol=1e-5, atol=1e-5
    )
