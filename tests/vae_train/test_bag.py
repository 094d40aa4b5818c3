"""Histories as weighted sums of rows: equal to the dense product, in value and gradient."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.vae_train.model.bag import Bag, drop, make_bag, trained_sum, weighted_sum
from pipelines.vae_train.model.noise import DROPOUT, user_stream
from tests.vae_train import model_oracle as oracle

HISTORY = st.lists(st.integers(0, oracle.ITEMS - 1), max_size=oracle.ITEMS, unique=True)


def matrix(bag: Bag) -> np.ndarray:
    weights = tf.RaggedTensor.from_row_splits(bag.weights, bag.ids.row_splits).to_list()
    return oracle.dense(bag.ids.to_list(), weights)


def streams(users: list[int]) -> tf.Tensor:
    return user_stream(oracle.NOISE.seed, oracle.NOISE.pass_number, tf.constant(users, tf.uint64), DROPOUT)


@settings(max_examples=30)
@given(histories=st.lists(HISTORY, min_size=1, max_size=5))
def test_the_weights_are_the_normalised_dense_rows(histories: list[list[int]]) -> None:
    np.testing.assert_allclose(
        matrix(make_bag(oracle.ragged(histories))), oracle.normalised(oracle.dense(histories)), rtol=1e-6
    )


@settings(max_examples=30)
@given(histories=st.lists(HISTORY, min_size=1, max_size=5), half_life=st.floats(0.5, 20))
def test_recency_halves_the_weight_every_half_life(histories: list[list[int]], half_life: float) -> None:
    raw = [[0.5 ** ((len(h) - 1 - place) / half_life) for place in range(len(h))] for h in histories]
    found = matrix(make_bag(oracle.ragged(histories), half_life))
    np.testing.assert_allclose(found, oracle.normalised(oracle.dense(histories, raw)), rtol=1e-5)


def test_recency_by_hand() -> None:
    """Half-life 1: weights 1/2, 1, length sqrt(5)/2: 0.4472, 0.8944, the newer item the heavier."""
    bag = make_bag(oracle.ragged([[3, 1]]), 1.0)
    assert bag.weights.numpy() == pytest.approx([0.4472136, 0.8944272])


def test_a_very_long_history_keeps_finite_weights() -> None:
    weights = make_bag(tf.RaggedTensor.from_row_lengths(tf.range(5000, dtype=tf.int64), [5000]), 1.0).weights.numpy()
    assert np.isfinite(weights).all()
    assert np.square(weights).sum() == pytest.approx(1)


@settings(max_examples=30)
@given(histories=st.lists(HISTORY, min_size=5, max_size=5), keep=st.sampled_from([0.2, 0.5, 0.9]))
def test_dropout_comes_after_the_normalisation_and_scales_what_stays(histories: list[list[int]], keep: float) -> None:
    bag = drop(make_bag(oracle.ragged(histories)), keep, streams(oracle.KEYS))
    expected = oracle.dropped(oracle.normalised(oracle.dense(histories)), oracle.KEYS, keep)
    np.testing.assert_allclose(matrix(bag), expected, rtol=1e-6)


def test_dropped_items_leave_the_bag_with_their_side_values() -> None:
    history = oracle.ragged([list(range(oracle.ITEMS))])
    bag = drop(make_bag(history, sides={"genre": oracle.ragged([range(10, 19)])}), 0.5, streams([5]))
    assert 0 < bag.ids.flat_values.shape[0] < oracle.ITEMS
    assert bag.sides["genre"].to_list() == [[item + 10 for item in bag.ids.to_list()[0]]]


def test_dropout_does_not_depend_on_the_batch_or_the_row() -> None:
    whole = matrix(drop(make_bag(oracle.ragged(oracle.HISTORIES)), 0.5, streams(oracle.KEYS)))
    for row, (history, user) in enumerate(zip(oracle.HISTORIES, oracle.KEYS, strict=True)):
        np.testing.assert_array_equal(
            matrix(drop(make_bag(oracle.ragged([history])), 0.5, streams([user]))), whole[[row]]
        )


def test_dropout_keeps_the_expected_sum() -> None:
    """4,000 users of 9 items at keep = 0.3: share kept 0.3 with a standard error of 0.0024."""
    history = oracle.ragged([list(range(9))] * 4000)
    bag = drop(make_bag(history), 0.3, streams(list(range(4000))))
    assert bag.ids.flat_values.shape[0] / 36_000 == pytest.approx(0.3, abs=0.01)
    assert float(tf.reduce_sum(bag.weights)) / 4000 == pytest.approx(3.0, rel=0.04)


@pytest.mark.parametrize("keep", [0.0, -0.1, 1.1])
def test_a_keep_probability_outside_its_range_is_refused(keep: float) -> None:
    with pytest.raises(ValueError, match=str(keep)):
        drop(make_bag(oracle.ragged([[1]])), keep, streams([1]))


def test_keeping_all_changes_nothing() -> None:
    bag = make_bag(oracle.ragged(oracle.HISTORIES))
    assert drop(bag, 1.0, streams(oracle.KEYS)) is bag


@pytest.mark.parametrize("summed", [weighted_sum, trained_sum])
@pytest.mark.parametrize("histories", [oracle.HISTORIES, [[], []], [[4]], [[], [1, 4], [4, 1]]], ids=str)
def test_a_sum_of_rows_is_the_dense_product_with_its_gradient(summed, histories: list[list[int]]) -> None:
    table = tf.Variable(np.random.default_rng(1).normal(size=(oracle.ITEMS, 3)).astype(np.float32))
    bag = make_bag(oracle.ragged(histories), 2.0)

    def sparse() -> tf.Tensor:
        return tf.reduce_sum(tf.square(summed(table, bag.ids, bag.weights) + 1))

    def naive() -> tf.Tensor:
        return tf.reduce_sum(tf.square(tf.matmul(matrix(bag), table) + 1))

    found, (gradient,) = oracle.gradients(sparse, [table])
    expected, (expected_gradient,) = oracle.gradients(naive, [table])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-6)


def test_the_gradient_names_each_row_once_and_no_other() -> None:
    table = tf.Variable(tf.ones([oracle.ITEMS, 3]))
    bag = make_bag(oracle.ragged([[1, 4], [4], []]))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(trained_sum(table, bag.ids, bag.weights))
    gradient = tape.gradient(total, table)
    assert isinstance(gradient, tf.IndexedSlices)
    assert sorted(gradient.indices.numpy().tolist()) == [1, 4]
