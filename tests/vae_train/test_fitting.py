"""From features to the served model: which features each part learns from; what was chosen is what is served."""

from __future__ import annotations

import os
import pathlib
from typing import Any, NamedTuple

import numpy as np
import pytest

from pipelines.vae_train.config import ModelConfig
from pipelines.vae_train.featuring import Features
from pipelines.vae_train.fitting import Fitted, fit
from pipelines.vae_train.model.linear import NeighborTerm, blend
from pipelines.vae_train.training.blend import SPARSE_RULES, read_matrix
from pipelines.vae_train.training.distribution import open_distribution
from pipelines.vae_train.training.heldout import read_heldout
from pipelines.vae_train.training.loop import train
from pipelines.vae_train.training.terms import nearest
from pipelines.vae_train.training.validation import evaluate
from tests.vae_train.training_data import clustered_users, quick, write_features, write_split
from transforms.ranking.ease import ease_weights

ITEMS = 30
MODEL = ModelConfig(kind="multvae", hidden=12, latent=4)
TRAINING = quick(epochs=4, patience=2)
EVERYONE = ("train", "validation")
"""The splits that the served linear term learns from: everyone but the test users."""


class World(NamedTuple):
    """first: features to choose by. everybody: those of the refit. fitted: by the two, with a linear term."""

    first: Features
    everybody: Features
    fitted: Fitted


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("fitting")
    first = features(folder / "first", users=100)
    everybody = features(folder / "everybody", users=140)
    distribution = open_distribution("none")
    fitted = fit(first, str(folder / "work"), MODEL, TRAINING, ITEMS, lambda: everybody, distribution)
    return World(first, everybody, fitted)


def features(folder: pathlib.Path, users: int) -> Features:
    path = write_features(folder, ITEMS, users=users)
    write_split(folder, "test", clustered_users(25, ITEMS, 77, targets=3))
    (folder / "transform").mkdir()
    return Features(path, {"items": ITEMS})


def weights(model: Any) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.variables_of("all")]


def test_a_refit_trains_on_the_refits_features_for_the_best_number_of_epochs(world: World, tmp_path) -> None:
    chosen = train(world.first.path, f"{tmp_path}/chosen", ITEMS, MODEL, TRAINING)
    epochs = chosen.best_epoch
    assert world.fitted.training["best_epoch"] == epochs
    assert world.fitted.validation == chosen.best_metrics
    again = train(world.everybody.path, f"{tmp_path}/again", ITEMS, MODEL, TRAINING, stop_after_epoch=epochs)
    for found, expected in zip(weights(world.fitted.model), weights(again.model), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert world.fitted.features is world.everybody


def test_the_linear_term_of_a_refit_is_of_everybody_with_the_strength_that_was_chosen(world: World) -> None:
    fitted = world.fitted
    assert fitted.linear is not None and fitted.blend is not None
    expected = ease_weights(read_matrix(world.everybody.path, ITEMS, EVERYONE), fitted.blend["lambda"])
    np.testing.assert_array_equal(fitted.linear.weights.numpy(), expected)


def test_the_share_that_validation_chose_is_served_and_tested(world: World) -> None:
    fitted = world.fitted
    assert fitted.linear is not None and fitted.blend is not None
    assert fitted.share == fitted.blend["model_share"] < 1
    heldout = read_heldout(world.everybody.path, "test", ITEMS, [])

    def score(item_ids: Any, sides: Any) -> Any:
        return blend(fitted.model.scores(item_ids, sides), fitted.linear.scores(item_ids), fitted.share)

    assert fitted.test == evaluate(score, heldout)
    assert fitted.test != evaluate(fitted.model.scores, heldout)


def test_beyond_linear_items_the_term_is_made_of_neighbors(world: World, tmp_path: pathlib.Path) -> None:
    fitted = fit(world.first, str(tmp_path), MODEL, TRAINING, ITEMS - 1, None, open_distribution("none"))
    assert fitted.blend is not None and isinstance(fitted.linear, NeighborTerm)
    [rule] = [rule for rule in SPARSE_RULES if str(rule) == fitted.blend["term"]]
    neighbors, weights = nearest(read_matrix(world.first.path, ITEMS, EVERYONE), rule)
    np.testing.assert_array_equal(fitted.linear.neighbors.numpy(), neighbors)
    np.testing.assert_array_equal(fitted.linear.weights.numpy(), weights)
    assert fitted.blend["lambda"] is None and fitted.share == fitted.blend["model_share"] < 1


def test_without_a_refit_all_is_of_the_one_training(world: World, tmp_path: pathlib.Path) -> None:
    fitted = fit(world.first, str(tmp_path), MODEL, TRAINING, 0, None, open_distribution("none"))
    assert fitted.features is world.first
    assert (fitted.linear, fitted.blend, fitted.share) == (None, None, 1.0)
    assert fitted.training["refit"] is False
    assert all(os.path.exists(path) for path in fitted.journals)
    assert fitted.test == evaluate(fitted.model.scores, read_heldout(world.first.path, "test", ITEMS, []))
