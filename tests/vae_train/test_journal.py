"""training.jsonl and the TensorBoard scalars: one line per epoch, whatever was interrupted."""

from __future__ import annotations

import json
import pathlib

import pytest
import tensorflow as tf
from tensorflow.core.util import event_pb2

from pipelines.vae_train.training.journal import EpochRecord, Journal, read_journal


def record(epoch: int) -> EpochRecord:
    return EpochRecord(epoch, 10 * epoch, 3.0 / epoch, -2.0, 1.0, 0.2, 5e-4, {"ndcg@100": 0.1 * epoch}, 1.5)


def scalars(folder: pathlib.Path) -> dict[tuple[str, int], float]:
    found = {}
    for file in (folder / "tensorboard").iterdir():
        for data in tf.data.TFRecordDataset(str(file)):
            event = event_pb2.Event.FromString(data.numpy())
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                assert (value.tag, event.step) not in found
                found[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    return found


def test_an_epoch_is_a_line_and_scalars_of_the_same_names(tmp_path: pathlib.Path) -> None:
    journal = Journal(str(tmp_path), 0)
    journal.append(record(1))
    journal.append(record(2))
    journal.close()
    lines = [json.loads(line) for line in (tmp_path / "training.jsonl").read_text().splitlines()]
    assert lines == list(journal.lines)
    assert lines[1] == {
        "epoch": 2, "steps": 20, "loss": 1.5, "log_likelihood": -2.0, "kl": 1.0, "beta": 0.2,
        "learning_rate": 5e-4, "seconds": 1.5, "ndcg@100": 0.2,
    }  # fmt: skip
    expected = {(name, line["epoch"]): value for line in lines for name, value in line.items() if name != "epoch"}
    assert scalars(tmp_path) == pytest.approx(expected)


def test_epochs_after_the_checkpoint_are_dropped_when_a_run_goes_on(tmp_path: pathlib.Path) -> None:
    first = Journal(str(tmp_path), 0)
    for epoch in (1, 2, 3):
        first.append(record(epoch))
    first.close()
    second = Journal(str(tmp_path), 2)
    second.append(record(3))
    second.append(record(4))
    second.close()
    assert [line["epoch"] for line in read_journal(str(tmp_path / "training.jsonl"))] == [1, 2, 3, 4]
    assert sorted(step for name, step in scalars(tmp_path) if name == "loss") == [1, 2, 3, 4]


def test_only_the_chief_keeps_a_journal(tmp_path: pathlib.Path) -> None:
    journal = Journal(str(tmp_path), 0, chief=False)
    journal.append(record(1))
    journal.close()
    assert not list(tmp_path.iterdir())
    assert read_journal(str(tmp_path / "training.jsonl")) == []
