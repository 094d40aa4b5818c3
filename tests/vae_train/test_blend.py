"""The choice of the linear term, on data where the right answer is known by construction."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from pipelines.vae_train.training.blend import choose_linear, linear_weights, read_matrix
from pipelines.vae_train.training.heldout import HeldOut, read_heldout
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
    choice = choose_linear(features, heldout, nonsense, strengths=(1.0, 100.0), shares=(0.0, 0.5, 1.0))
    assert choice.strength in (1.0, 100.0)
    assert choice.share < 1.0
    assert [(score.strength, score.share) for score in choice.scores] == [
        (None, 1.0), (1.0, 0.5), (1.0, 0.0), (100.0, 0.5), (100.0, 0.0),
    ]  # fmt: skip
    best = max(score.ndcg for score in choice.scores)
    assert next(s for s in choice.scores if (s.strength, s.share) == (choice.strength, choice.share)).ndcg == best
    assert choice.scores[0].ndcg == pytest.approx(evaluate(nonsense, heldout)["ndcg@100"])


def test_a_share_of_zero_scores_what_ease_alone_scores(features: str, heldout: HeldOut) -> None:
    weights = linear_weights(features, ITEMS, 10.0)
    np.testing.assert_array_equal(weights, ease_weights(read_matrix(features, ITEMS), 10.0))

    def linear(given, _):
        history = np.zeros((int(given.nrows()), ITEMS), np.float32)
        for row, items in enumerate(given.to_list()):
            history[row, items] = 1.0
        return tf.constant(history @ weights)

    choice = choose_linear(features, heldout, nonsense, strengths=(10.0,), shares=(0.0,))
    assert choice.scores[1].ndcg == pytest.approx(evaluate(linear, heldout)["ndcg@100"], abs=1e-6)


def test_a_model_that_knows_the_answer_stays_alone(features: str, heldout: HeldOut) -> None:
    """Equal scores, all perfect ones included, go to the larger share."""
    answers = {tuple(heldout.given[user].tolist()): heldout.targets[user] for user in range(len(heldout))}

    def oracle(given, _):
        scores = np.zeros((int(given.nrows()), ITEMS), np.float32)
        for row, items in enumerate(given.to_list()):
            scores[row, answers[tuple(items)]] = 1.0
        return tf.constant(scores)

    choice = choose_linear(features, heldout, oracle, strengths=(10.0,), shares=(0.9, 1.0))
    assert (choice.strength, choice.share) == (None, 1.0)
    assert choice.scores[0].ndcg == 1.0


def test_a_large_catalogue_or_no_validation_user_means_no_linear_term(features: str, heldout: HeldOut) -> None:
    for users, limit in ((heldout, ITEMS - 1), (heldout.part(0, 0), ITEMS)):
        choice = choose_linear(features, users, nonsense, limit_items=limit)
        assert (choice.strength, choice.share, choice.scores) == (None, 1.0, ())


def test_what_weighs_nothing_was_not_taken(tmp_path: pathlib.Path) -> None:
    users = [{"user_key": 1, "item_ids": [2, -1, 0], "weights": [0.0, 1.0, 3.0]}, {"user_key": 2, "item_ids": [1]}]
    write_split(tmp_path, "train", users)
    write_split(tmp_path, "validation", [{"user_key": 3, "item_ids": [2], "target_ids": [0]}])
    assert read_matrix(str(tmp_path), 3).toarray().tolist() == [[1, 0, 0], [0, 1, 0]]
    assert read_matrix(str(tmp_path), 3, ("train", "validation")).toarray().tolist()[2] == [0, 0, 1]
