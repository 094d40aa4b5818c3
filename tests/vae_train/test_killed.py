"""A command killed while it trains and given again: it goes on, with the features it has, to the very same model."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from tests.vae_train.exporting import unchecked
from tests.vae_train.running import ROOT, Done, clusters, run, snapshot, tiny, write_log
from transforms.interactions.times import rfc3339
from transforms.runs.run_folder import RunFolder

pytestmark = pytest.mark.slow  # five trainings share one killed run, about a minute in all
ITEMS = [f"c{place:02}" for place in range(30)]
DEADLINE_S = 240
FLAGS = [
    "--deterministic", "--model=multvae", "--epochs=15", "--patience=100", "--batch_users=4", "--checkpoint_steps=8",
    "--linear_items=0",
]  # fmt: skip
"""15 epochs of 12 steps, so that there is time to kill between the second epoch's first checkpoint and the end."""


@dataclasses.dataclass(frozen=True)
class Killed:
    """What a killed run left. flags: the command's but --output. left: the output folder. first_epoch: as noted."""

    flags: list[str]
    left: pathlib.Path
    features: dict[str, tuple[int, str]]
    first_epoch: str

    def copy(self, target: pathlib.Path) -> pathlib.Path:
        """The output folder once more, below target."""
        return shutil.copytree(self.left, target / "out")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """SIGKILL after the second epoch's first checkpoint."""
    folder = tmp_path_factory.mktemp("killed")
    output = folder / "out"
    flags = [f"--interactions={write_log(folder / 'log.parquet', clusters(60, ITEMS, 6))}", *FLAGS]
    command = [sys.executable, "-m", "pipelines.vae_train", *tiny([*flags, f"--output={output}"])]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + DEADLINE_S
    while newest_step(output) < 16:
        assert process.poll() is None, f"the run ended with {process.communicate()[1]}"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == -signal.SIGKILL
    journal = (workspace(output) / "training/training.jsonl").read_text().splitlines()
    return Killed(flags, output, snapshot(workspace(output) / "features"), journal[0])


@pytest.fixture(scope="module")
def resumed(killed: Killed, tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, Done, float]:
    """The output folder after the same command, its end, and when it began. It is stopped twice before its commit."""
    output = killed.copy(tmp_path_factory.mktemp("resumed"))
    began = time.time()
    with unchecked():
        with mock.patch.object(RunFolder, "commit", side_effect=KeyboardInterrupt):
            for _ in range(2):
                assert run(*killed.flags, f"--output={output}").code == 1
                assert [path.name for path in output.iterdir()] == [".resume"]
        done = run(*killed.flags, f"--output={output}")
    return output, done, began


def workspace(output: pathlib.Path) -> pathlib.Path:
    [folder] = (output / ".resume").iterdir()
    return folder


def newest_step(output: pathlib.Path) -> int:
    """Of the newest whole checkpoint, 0 without any."""
    for record in output.glob(".resume/*/training/checkpoints/checkpoint"):
        first = record.read_text().partition("\n")[0]
        return int(first.rpartition("ckpt-")[2].strip('"') or 0)
    return 0


def scores(output: pathlib.Path) -> np.ndarray:
    model = tf.saved_model.load(str(output / "model"))
    history = tf.constant([ITEMS[:3], ITEMS[20:23], [*ITEMS[5:7], ""]])
    return model.signatures["score_items"](history=history, candidates=tf.constant([ITEMS] * 3))["scores"].numpy()


def test_a_killed_run_leaves_a_workspace_and_nothing_that_looks_done(killed: Killed) -> None:
    assert {path.name.partition("2")[0] for path in killed.left.iterdir()} == {".resume", ".lock", ".tmp-"}
    assert killed.features.keys() >= {"facts.json", "vocabulary.parquet"}


def test_the_same_command_goes_on_with_the_features_it_has(killed: Killed, resumed) -> None:
    output, done, began = resumed
    assert done.code == 0, done.error
    assert "vae_train: takes the features of the interrupted run from" in done.error
    assert "vae_train: resumes an interrupted training after epoch 15, step " in done.error
    assert not [path for path in output.iterdir() if path.name.startswith(".")]
    for name, (changed_ns, digest) in snapshot(output / "examples").items():
        assert killed.features[f"examples/{name}"] == (changed_ns, digest)
        assert changed_ns < began * 1e9
    facts = json.loads((workspace(killed.left) / "features/facts.json").read_text())
    assert json.loads((output / "run.json").read_text())["as_of"] == rfc3339(facts["as_of_us"]), "not of the new start"
    epochs = (output / "training.jsonl").read_text().splitlines()
    assert len(epochs) == 15 and epochs[0] == killed.first_epoch, "its seconds show that it was not trained twice"
    assert list((output / "tensorboard").glob("events.*"))


def test_it_ends_with_the_model_of_a_run_that_nobody_killed(killed: Killed, resumed, tmp_path) -> None:
    with unchecked():
        whole = run(*killed.flags, f"--output={tmp_path}/whole")
    assert whole.code == 0, whole.error
    np.testing.assert_array_equal(scores(resumed[0]), scores(tmp_path / "whole"))


def test_other_options_clear_the_workspace_and_a_diverged_run_leaves_the_folder_as_it_was(
    killed: Killed, tmp_path: pathlib.Path
) -> None:
    output = killed.copy(tmp_path)
    (output / "rejected").mkdir()
    (output / "rejected/kept.jsonl").write_text("{}\n")
    done = run(*killed.flags, f"--output={output}", "--learning_rate=1e30")
    assert done.code == 1
    assert "the loss became" in done.error and "use a --learning_rate below 1e+30" in done.error
    assert snapshot(output).keys() == {"rejected/kept.jsonl"}


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_damaged_checkpoint_is_named_and_cleared_so_that_the_same_command_trains_anew(
    killed: Killed, damage: str, tmp_path: pathlib.Path
) -> None:
    output = killed.copy(tmp_path)
    for path in workspace(output).glob("training/checkpoints/ckpt-*"):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"\xff" * len(content))
    done = run(*killed.flags, f"--output={output}")
    assert done.code == 3
    assert f"{output}/.resume" in done.error and "is not a checkpoint of this model" in done.error
    assert snapshot(output) == {}
