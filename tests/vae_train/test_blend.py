"""The choice of the linear term, on data where the right answer is known by construction."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import scipy.sparse as sp
import tensorflow as tf

from pipelines.vae_train.training import terms
from pipelines.vae_train.training.blend import DENSE_RULES, SPARSE_RULES, choose_linear, read_matrix
from pipelines.vae_train.training.heldout import HeldOut, read_heldout
from pipelines.vae_train.training.terms import Ease, Neighbors, nearest
from pipelines.vae_train.training.validation import evaluate
from tests.vae_train.training_data import write_features, write_split
from transforms.ranking.ease import ease_weights

ITEMS = 30


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_features(tmp_path_factory.mktemp("features"), ITEMS)


@pytest.fixture(scope="module")
def heldout(features: str) -> HeldOut:
    return read_heldout(features, "validation", ITEMS)


def nonsense(given, _):
    """Every user the same shuffled scores."""
    row = np.random.default_rng(1).standard_normal(ITEMS).astype(np.float32)
    return tf.tile(tf.constant(row)[tf.newaxis], [given.nrows(), 1])


def test_a_model_that_knows_nothing_leaves_the_ranking_to_the_linear_term(features: str, heldout: HeldOut) -> None:
    choice = choose_linear(features, heldout, nonsense, rules=(Ease(1.0), Ease(100.0)), shares=(0.0, 0.5, 1.0))
    assert choice.rule in (Ease(1.0), Ease(100.0))
    assert choice.share < 1.0
    assert [(score.rule, score.share) for score in choice.scores] == [
        (None, 1.0), (Ease(1.0), 0.5), (Ease(1.0), 0.0), (Ease(100.0), 0.5), (Ease(100.0), 0.0),
    ]  # fmt: skip
    best = max(score.ndcg for score in choice.scores)
    assert next(s for s in choice.scores if (s.rule, s.share) == (choice.rule, choice.share)).ndcg == best
    assert choice.scores[0].ndcg == pytest.approx(evaluate(nonsense, heldout)["ndcg@100"])


def test_a_share_of_zero_scores_what_ease_alone_scores(features: str, heldout: HeldOut) -> None:
    weights = ease_weights(read_matrix(features, ITEMS), 10.0)
    np.testing.assert_array_equal(Ease(10.0).fit(read_matrix(features, ITEMS)).weights.numpy(), weights)

    def linear(given, _):
        history = np.zeros((int(given.nrows()), ITEMS), np.float32)
        for row, items in enumerate(given.to_list()):
            history[row, items] = 1.0
        return tf.constant(history @ weights)

    choice = choose_linear(features, heldout, nonsense, rules=(Ease(10.0),), shares=(0.0,))
    assert choice.scores[1].ndcg == pytest.approx(evaluate(linear, heldout)["ndcg@100"], abs=1e-6)


def test_a_model_that_knows_the_answer_stays_alone(features: str, heldout: HeldOut) -> None:
    """Equal scores, all perfect ones included, go to the larger share."""
    answers = {tuple(heldout.given[user].tolist()): heldout.targets[user] for user in range(len(heldout))}

    def oracle(given, _):
        scores = np.zeros((int(given.nrows()), ITEMS), np.float32)
        for row, items in enumerate(given.to_list()):
            scores[row, answers[tuple(items)]] = 1.0
        return tf.constant(scores)

    choice = choose_linear(features, heldout, oracle, rules=(Ease(10.0),), shares=(0.9, 1.0))
    assert (choice.rule, choice.share) == (None, 1.0)
    assert choice.scores[0].ndcg == 1.0


@pytest.mark.parametrize(("limit", "rules"), [(ITEMS, DENSE_RULES), (ITEMS - 1, SPARSE_RULES)])
def test_a_large_catalogue_tries_neighbors(features: str, heldout: HeldOut, limit: int, rules: tuple) -> None:
    choice = choose_linear(features, heldout, nonsense, shares=(0.0,), limit_items=limit)
    assert [score.rule for score in choice.scores] == [None, *rules]
    assert choice.rule in rules and choice.share == 0.0


def test_without_validation_users_there_is_no_linear_term(features: str, heldout: HeldOut) -> None:
    choice = choose_linear(features, heldout.part(0, 0), nonsense)
    assert (choice.rule, choice.share, choice.scores) == (None, 1.0, ())


def test_neighbors_are_degree_normalized_co_occurrence_by_hand() -> None:
    """Users {0 1 2}, {0 1}, {3}: for 0 and 1 the sum is 1/3 + 1/2, for 2 with either 1/3. 0 and 1 have two users.

    At exponents 1, 1, .5 the weight of (0, 1) is (5/6) / (2 sqrt 2), of (0, 2) (1/3) / 2, of (2, 0) (1/3) / sqrt 2.
    """
    train = sp.csr_array(np.array([[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1]], np.float32))
    neighbors, weights = nearest(train, Neighbors(1.0, 1.0, 0.5, top_k=2))
    assert neighbors.tolist() == [[1, 2], [0, 2], [0, 1], [0, 0]]
    root = 2**0.5
    expected = [[5 / 12 / root, 1 / 6], [5 / 12 / root, 1 / 6], [1 / 3 / root, 1 / 3 / root], [0, 0]]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    np.testing.assert_allclose(nearest(train, Neighbors(1.0, 1.0, 0.5, top_k=1))[1][:, 0], weights[:, 0])


def test_neighbors_stay_within_their_bytes(features: str, monkeypatch: pytest.MonkeyPatch) -> None:
    train = read_matrix(features, ITEMS)
    whole, _ = nearest(train, Neighbors(0.7, 0.7, 0.3))
    assert whole.shape == (ITEMS, ITEMS - 1)
    monkeypatch.setattr(terms, "MOST_BYTES", 3 * 8 * ITEMS + 7)
    neighbors, weights = nearest(train, Neighbors(0.7, 0.7, 0.3))
    np.testing.assert_array_equal(neighbors, whole[:, :3])
    assert neighbors.nbytes + weights.nbytes == 3 * 8 * ITEMS


def test_neighbors_equal_the_dense_product(features: str) -> None:
    """With room for every neighbor: D_i^-b X' D_u^-a X D_j^-c off the diagonal."""
    train = read_matrix(features, ITEMS)
    dense = train.toarray().astype(np.float64)
    users, items = dense.sum(axis=1), np.maximum(dense.sum(axis=0), 1)
    expected = (dense.T / users**0.7) @ dense / items[:, None] ** 0.6 / items[None, :] ** 0.3
    np.fill_diagonal(expected, 0)
    neighbors, weights = nearest(train, Neighbors(0.7, 0.6, 0.3))
    found = np.zeros_like(expected)
    np.add.at(found, (np.arange(ITEMS)[:, None], neighbors), weights)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_weighs_nothing_was_not_taken(tmp_path: pathlib.Path) -> None:
    users = [{"user_key": 1, "item_ids": [2, -1, 0], "weights": [0.0, 1.0, 3.0]}, {"user_key": 2, "item_ids": [1]}]
    write_split(tmp_path, "train", users)
    write_split(tmp_path, "validation", [{"user_key": 3, "item_ids": [2], "target_ids": [0, -1]}])
    assert read_matrix(str(tmp_path), 3).toarray().tolist() == [[1, 0, 0], [0, 1, 0]]
    both = read_matrix(str(tmp_path), 3, ("train", "validation"))
    assert both.toarray().tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
