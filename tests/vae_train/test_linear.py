"""The linear term against X B, and the mixture by its formula."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import tensorflow as tf

from pipelines.vae_train.model.linear import LinearTerm, NeighborTerm, blend, standardise
from tests.vae_train import model_oracle as oracle
from transforms.ranking.ease import ease_weights


def test_scores_are_those_of_ease() -> None:
    rng = np.random.default_rng(1)
    weights = ease_weights(sp.csr_array((rng.random((40, oracle.ITEMS)) < 0.4).astype(np.float32)), 3.0)
    found = LinearTerm(weights).scores(oracle.ragged(oracle.HISTORIES))
    np.testing.assert_allclose(found, oracle.dense(oracle.HISTORIES) @ weights, rtol=1e-5, atol=1e-6)


def test_no_history_at_all_scores_0() -> None:
    found = LinearTerm(np.ones((3, 3), np.float32)).scores(oracle.ragged([[], []]))
    assert found.numpy().tolist() == [[0, 0, 0], [0, 0, 0]]


def test_weights_that_are_not_square_are_refused() -> None:
    with pytest.raises(ValueError, match="2 by 3"):
        LinearTerm(np.ones((2, 3), np.float32))


def test_neighbors_score_as_the_dense_matrix_of_their_weights() -> None:
    """Two neighbors an item, of which one row has a single one; a user without a history scores 0."""
    rng = np.random.default_rng(4)
    neighbors = np.array([rng.permutation(oracle.ITEMS)[:2] for _ in range(oracle.ITEMS)], np.int32)
    weights = rng.random((oracle.ITEMS, 2)).astype(np.float32)
    neighbors[3, 1], weights[3, 1] = 0, 0.0
    dense = np.zeros((oracle.ITEMS, oracle.ITEMS), np.float32)
    np.add.at(dense, (np.arange(oracle.ITEMS)[:, None], neighbors), weights)
    term = NeighborTerm(neighbors, weights)
    found = term.scores(oracle.ragged(oracle.HISTORIES))
    np.testing.assert_allclose(found, oracle.dense(oracle.HISTORIES) @ dense, rtol=1e-5, atol=1e-6)
    assert term.scores(oracle.ragged([[], []])).numpy().tolist() == [[0.0] * oracle.ITEMS] * 2


def test_neighbors_of_another_shape_than_their_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        NeighborTerm(np.zeros((3, 2), np.int32), np.zeros((3, 1), np.float32))


def test_standardised_scores_have_mean_0_and_deviation_1_for_each_user() -> None:
    found = standardise(tf.constant(np.random.default_rng(2).normal(5, 9, (4, 50)).astype(np.float32))).numpy()
    np.testing.assert_allclose(found.mean(1), 0, atol=1e-6)
    np.testing.assert_allclose(found.std(1), 1, rtol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_blend_is_the_mean_of_standardised_scores(share: float) -> None:
    rng = np.random.default_rng(3)
    vae, linear = rng.normal(size=(2, 4, 20)).astype(np.float32)
    expected = share * (vae - vae.mean(1, keepdims=True)) / vae.std(1, keepdims=True)
    expected += (1 - share) * (linear - linear.mean(1, keepdims=True)) / linear.std(1, keepdims=True)
    np.testing.assert_allclose(blend(tf.constant(vae), tf.constant(linear), share), expected, rtol=1e-4, atol=1e-5)


def test_a_user_without_history_gets_the_vae_alone_whatever_the_share() -> None:
    vae = tf.constant([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]])
    linear = tf.constant([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    found = blend(vae, linear, 0.0).numpy()
    assert np.argsort(found[0]).tolist() == [0, 1, 2]
    assert found[1].argmax() == 0


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_outside_0_and_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=str(share)):
        blend(tf.zeros([1, 2]), tf.zeros([1, 2]), share)
