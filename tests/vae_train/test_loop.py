"""Training a small model: it learns, stops, keeps the best weights, and says when it diverges."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import pytest

from pipelines.vae_train.training import loop
from pipelines.vae_train.training.diverged import TrainingDiverged
from pipelines.vae_train.training.heldout import read_heldout
from pipelines.vae_train.training.journal import read_journal
from pipelines.vae_train.training.loop import METRIC, Trained, train
from pipelines.vae_train.training.validation import evaluate
from tests.vae_train.training_data import TINY, clustered_users, quick, write_features, write_split

ITEMS = 30


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_features(tmp_path_factory.mktemp("features"), ITEMS)


def lines(work: pathlib.Path) -> list[dict]:
    return read_journal(str(work / "training.jsonl"))


def weights(trained: Trained) -> list[np.ndarray]:
    return [variable.numpy() for variable in trained.model.variables]


@pytest.mark.parametrize("kind", ["recvae", "multvae"])
def test_training_learns_and_notes_every_epoch(features: str, tmp_path: pathlib.Path, kind: str) -> None:
    """100 users in batches of 16 are 7 steps a pass; recvae makes 4 passes an epoch, multvae 1."""
    model = dataclasses.replace(TINY, kind=kind)
    trained = train(features, str(tmp_path), ITEMS, model, quick(epochs=5))
    noted = lines(tmp_path)
    steps = 28 if kind == "recvae" else 7
    assert [line["epoch"] for line in noted] == [1, 2, 3, 4, 5]
    assert [line["steps"] for line in noted] == [steps * epoch for epoch in range(1, 6)]
    assert noted[-1]["loss"] < noted[0]["loss"]
    assert noted[-1][METRIC] > noted[0][METRIC]
    assert {"ndcg@100", "recall@20", "recall@50", "kl", "beta", "learning_rate", "seconds"} <= set(noted[0])
    assert trained.epochs_run == 5
    assert trained.steps == 5 * steps
    if kind == "multvae":  # rises over 28 of the 35 planned steps: at the last step of epoch 1, 6/28 of 0.2
        assert noted[0]["beta"] == pytest.approx(0.2 * 6 / 28)
        assert noted[-1]["beta"] == 0.2


@pytest.mark.parametrize(("final", "least", "most"), [(None, 2.0, 7.1), (5e-12, 0.5, 1.2)])
def test_steps_shrink_with_the_learning_rate(
    features: str, tmp_path: pathlib.Path, final: float | None, least: float, most: float
) -> None:
    """A step of Adam moves no weight by much more than the learning rate.

    The second of two epochs has 7 steps. At a constant rate they move some weight several times that far. From 5e-3 to
    5e-12, the rate falls by .05 in every step, so all of them move a weight by at most 1.05 of the first rate.
    """
    model, training = dataclasses.replace(TINY, kind="multvae"), quick(epochs=2, final_learning_rate=final)
    began = weights(train(features, str(tmp_path), ITEMS, model, training, stop_after_epoch=1))
    ended = weights(train(features, str(tmp_path), ITEMS, model, training, stop_after_epoch=2))
    moved = max(np.abs(end - start).max() for end, start in zip(ended, began, strict=True))
    assert least * 5e-3 <= moved <= most * 5e-3
    rates = [line["learning_rate"] for line in lines(tmp_path)]
    assert rates == pytest.approx([5e-3, 5e-3 * (1e-9 ** (6 / 7) if final else 1.0)])


def test_the_best_weights_are_returned_and_training_stops_when_patience_is_out(
    features: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores of 5, 7, 6, 7, 4 tenths: the second is the best, an equal one later is not, two epochs later it ends."""
    seen: list[list[np.ndarray]] = []
    scores = iter([0.5, 0.7, 0.6, 0.7, 0.4])
    compiled: list[object] = []

    def told(score: object, heldout: object, **progress: object) -> dict[str, float]:
        compiled.append(score)
        return {METRIC: next(scores)}

    class Spy(loop.Silent):
        def validated(self, score: float, best: float, best_epoch: int) -> None:
            seen.append([variable.numpy() for variable in models[-1].variables])

    models: list = []
    make = loop.make_model
    monkeypatch.setattr(loop, "make_model", lambda *arguments: models.append(make(*arguments)) or models[-1])
    monkeypatch.setattr(loop, "evaluate", told)
    trained = train(features, str(tmp_path), ITEMS, TINY, quick(epochs=9, patience=2), progress=Spy())
    assert (trained.best_epoch, trained.epochs_run, dict(trained.best_metrics)) == (2, 4, {METRIC: 0.7})
    for found, expected in zip(weights(trained), seen[1], strict=True):
        np.testing.assert_array_equal(found, expected)
    again = train(features, str(tmp_path), ITEMS, TINY, quick(epochs=9, patience=2))  # nothing is left to do
    assert (again.best_epoch, again.epochs_run) == (2, 4)
    np.testing.assert_array_equal(weights(again)[0], seen[1][0])


def test_the_noted_metrics_are_those_of_the_returned_model(features: str, tmp_path: pathlib.Path) -> None:
    trained = train(features, str(tmp_path), ITEMS, TINY, quick())
    found = evaluate(trained.model.scores, read_heldout(features, "validation", ITEMS))
    assert found == pytest.approx(dict(trained.best_metrics))
    assert found == pytest.approx({name: lines(tmp_path)[trained.best_epoch - 1][name] for name in found})


def test_a_refit_trains_exactly_as_many_epochs_as_told_without_validation(
    features: str, tmp_path: pathlib.Path
) -> None:
    trained = train(features, str(tmp_path / "refit"), ITEMS, TINY, quick(epochs=9, patience=1), stop_after_epoch=2)
    assert (trained.best_epoch, trained.epochs_run, dict(trained.best_metrics)) == (2, 2, {})
    assert all(METRIC not in line for line in lines(tmp_path / "refit"))
    first = train(features, str(tmp_path / "first"), ITEMS, TINY, quick(epochs=2))
    if first.best_epoch == 2:  # the same steps were made
        for found, expected in zip(weights(trained), weights(first), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_one_graph_per_phase_serves_batches_of_any_size(
    features: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    make = loop.make_step
    monkeypatch.setattr(loop, "make_step", lambda *arguments: made.append(make(*arguments)) or made[-1])
    train(features, str(tmp_path), ITEMS, TINY, quick(epochs=2))
    assert [step.experimental_get_tracing_count() for step in made] == [1, 1]


def test_side_columns_and_weights_reach_the_model(tmp_path: pathlib.Path) -> None:
    users = clustered_users(40, ITEMS, 1)
    for user in users:
        user["side_topic"] = [1 + item % 3 for item in user["item_ids"]]
        user["weights"] = [0.0] + [2.0] * (len(user["item_ids"]) - 1)
    write_split(tmp_path, "train", users)
    trained = train(str(tmp_path), str(tmp_path / "work"), ITEMS, TINY, quick(epochs=1), sides={"topic": 4})
    assert trained.best_epoch == 1  # no validation users: the last epoch


def test_a_loss_that_is_no_number_stops_training_and_says_where(features: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        TrainingDiverged, match=r"^epoch 1, step \d+: the loss became .*user_key \d+, \d+, \d+ and 13"
    ) as told:
        train(features, str(tmp_path), ITEMS, TINY, quick(learning_rate=1e30))
    assert "--learning_rate below 1e+30" in str(told.value)
    assert told.value.exit_code == 1
