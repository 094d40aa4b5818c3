"""Checkpoints: whole or not at all, the newest two and the best, for the chief alone."""

from __future__ import annotations

import pathlib

import pytest
import tensorflow as tf

from pipelines.vae_train.model.adam import Adam
from pipelines.vae_train.training.checkpoints import Checkpoints, State
from transforms.errors import BadInput, RecbeamError


class Scalar(tf.Module):
    def __init__(self, value: float, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.value = tf.Variable(tf.fill(shape, value))


def opened(folder: pathlib.Path, model: Scalar, *, chief: bool = True) -> Checkpoints:
    return Checkpoints(str(folder), model, {"all": Adam([model.value], 0.1, lazy=True)}, chief=chief)


def names(folder: pathlib.Path) -> set[str]:
    return {path.name.partition(".")[0] for path in (folder / "checkpoints").rglob("*") if path.is_file()}


def test_what_was_saved_last_comes_back_with_its_place(tmp_path: pathlib.Path) -> None:
    model = Scalar(1.0)
    checkpoints = opened(tmp_path, model)
    assert checkpoints.restore() == State()
    checkpoints.save(State(step=1))
    model.value.assign(2.0)
    state = State(2, 1, 7, 30, (1.5, -1.0 / 3.0, 0.1), 70, 60, 1, {"ndcg@100": 0.1 + 0.2}, 12.5)
    checkpoints.save(state)
    fresh = Scalar(0.0)
    assert opened(tmp_path, fresh).restore() == state
    assert fresh.value.numpy() == 2.0


def test_two_checkpoints_are_kept_and_the_best_that_the_newest_names(tmp_path: pathlib.Path) -> None:
    model = Scalar(1.0)
    checkpoints = opened(tmp_path, model)
    checkpoints.save_best(1)
    checkpoints.save(State(epoch=1, step=10, best_epoch=1))
    model.value.assign(2.0)
    checkpoints.save_best(2)
    # A crash here leaves a best that no checkpoint names; the earlier one is still there for the run that goes on.
    assert names(tmp_path) == {"checkpoint", "ckpt-10", "epoch-00001", "epoch-00002"}
    checkpoints.restore_best(opened(tmp_path, model).restore().best_epoch)
    assert model.value.numpy() == 1.0
    checkpoints.save(State(epoch=2, step=20, best_epoch=1))
    checkpoints.save(State(epoch=3, step=30, best_epoch=1))
    assert names(tmp_path) == {"checkpoint", "ckpt-20", "ckpt-30", "epoch-00001"}


def test_only_the_chief_writes_and_all_restore(tmp_path: pathlib.Path) -> None:
    other = opened(tmp_path, Scalar(5.0), chief=False)
    other.save(State(step=1))
    other.save_best(1)
    assert not (tmp_path / "checkpoints").exists()
    opened(tmp_path, Scalar(7.0)).save(State(step=3))
    model = Scalar(0.0)
    assert opened(tmp_path, model, chief=False).restore().step == 3
    assert model.value.numpy() == 7.0


def test_a_checkpoint_of_another_model_is_bad_input(tmp_path: pathlib.Path) -> None:
    opened(tmp_path, Scalar(1.0)).save(State(step=1))
    with pytest.raises(BadInput, match=r"ckpt-1: is not a checkpoint of this model .*; remove .*checkpoints to train"):
        opened(tmp_path, Scalar(1.0, (3,))).restore()


def test_a_disk_that_takes_no_more_is_one_sentence_and_the_checkpoint_before_stays(tmp_path: pathlib.Path) -> None:
    model = Scalar(1.0)
    checkpoints = opened(tmp_path, model)
    checkpoints.save(State(step=1))
    (tmp_path / "checkpoints/best").write_text("a file where a folder is due")
    with pytest.raises(RecbeamError, match="best: a checkpoint cannot be written"):
        checkpoints.save_best(1)
    assert opened(tmp_path, Scalar(0.0)).restore() == State(step=1)
