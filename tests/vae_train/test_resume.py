"""A training that was interrupted anywhere, by an exception or by SIGKILL, ends as one that was not."""

from __future__ import annotations

import json
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pipelines.vae_train.training.display import Silent
from pipelines.vae_train.training.journal import read_journal
from pipelines.vae_train.training.loop import train
from tests.vae_train.training_data import TINY, quick, write_features

ITEMS = 30
ROOT = pathlib.Path(__file__).resolve().parents[2]
DEADLINE_S = 240


class Crash(Exception):
    pass


class CrashAt(Silent):
    """Raises once that many steps have been told of."""

    def __init__(self, step: int) -> None:
        self.left = step

    def step(self, epoch: int, phase: str, loss: float, kl: float, beta: float) -> None:
        self.left -= 1
        if self.left == 0:
            raise Crash

    def validated(self, score: float, best: float, best_epoch: int) -> None:
        if self.left < 0:
            raise Crash


class Resumed(Silent):
    """Keeps the steps after which a training was said to resume."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def resumed(self, epoch: int, step: int) -> None:
        self.steps.append(step)


def lines(work: pathlib.Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in read_journal(str(work / "training.jsonl"))]


def outcome(trained, work: pathlib.Path):
    return [variable.numpy() for variable in trained.model.variables], lines(work)


def assert_same(found, expected) -> None:
    assert found[1] == expected[1]
    for ours, theirs in zip(found[0], expected[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory):
    """Features, and what an uninterrupted run of 3 epochs of 28 steps makes of them."""
    folder = tmp_path_factory.mktemp("whole")
    features = write_features(folder / "features", ITEMS)
    trained = train(features, str(folder / "work"), ITEMS, TINY, quick(checkpoint_steps=5))
    return features, outcome(trained, folder / "work")


# 7 steps a pass: before the first checkpoint, at the encoder's last step (21), in the decoder's pass, at an epoch's
# end, past a checkpoint that falls on the end of a pass (35 = 28 + 7).
@pytest.mark.parametrize("step", [3, 21, 24, 28, 36])
def test_a_run_that_crashed_at_a_step_goes_on_to_the_same_weights(whole, tmp_path: pathlib.Path, step: int) -> None:
    features, expected = whole
    settings = quick(checkpoint_steps=5)
    with pytest.raises(Crash):
        train(features, str(tmp_path), ITEMS, TINY, settings, progress=CrashAt(step))
    told = Resumed()
    trained = train(features, str(tmp_path), ITEMS, TINY, settings, progress=told)
    assert_same(outcome(trained, tmp_path), expected)
    saved = step - 1 - (step - 1) % 5  # CrashAt raises before the step is saved
    assert told.steps == ([saved] if saved else [])


def test_a_run_that_crashed_before_its_epoch_was_saved_notes_it_once(
    whole, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, expected = whole
    settings = quick(checkpoint_steps=5)
    from pipelines.vae_train.training.checkpoints import Checkpoints

    save = Checkpoints.save

    def fail(self, state) -> None:
        if state.epoch == 2:
            raise Crash
        save(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", fail)
        with pytest.raises(Crash):
            train(features, str(tmp_path), ITEMS, TINY, settings)
    assert [line["epoch"] for line in lines(tmp_path)] == [1, 2]
    assert_same(outcome(train(features, str(tmp_path), ITEMS, TINY, settings), tmp_path), expected)


@pytest.mark.slow
def test_a_process_killed_at_random_moments_ends_with_the_same_weights(tmp_path: pathlib.Path) -> None:
    """SIGKILL twice after the first checkpoint of an epoch of 300 steps with one every 20; then it may finish."""
    features = write_features(tmp_path / "features", ITEMS, users=600)
    settings = {"batch_users": 8, "checkpoint_steps": 20, "epochs": 2}
    work = tmp_path / "work"
    moments = random.Random(time.time_ns())
    for attempt in range(3):
        process = start(features, work, settings)
        if attempt == 2:
            assert process.wait(DEADLINE_S) == 0
            break
        before = newest(work)
        wait_until(lambda before=before: newest(work) != before, process)
        time.sleep(moments.uniform(0.0, 1.0))
        process.send_signal(signal.SIGKILL)
        assert process.wait(DEADLINE_S) == -signal.SIGKILL, "it was done before it was killed; make the data larger"
    trained = train(features, str(tmp_path / "whole"), ITEMS, TINY, quick(**settings))
    expected, noted = outcome(trained, tmp_path / "whole")
    with np.load(work / "weights-0.npz") as found:
        assert_same(([found[str(place)] for place in range(len(expected))], lines(work)), (expected, noted))


def start(features: str, work: pathlib.Path, settings: dict) -> subprocess.Popen:
    work.mkdir(exist_ok=True)
    model = json.dumps({"hidden": TINY.hidden, "latent": TINY.latent})
    training = json.dumps({"learning_rate": 5e-3, "deterministic": True, **settings})
    command = [sys.executable, "-m", "tests.vae_train.worker", features, str(work), str(ITEMS), model, training, "1"]
    return subprocess.Popen(command, cwd=ROOT)


def newest(work: pathlib.Path) -> str:
    record = work / "checkpoints" / "checkpoint"
    return record.read_text().partition("\n")[0] if record.exists() else ""


def wait_until(happened, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not happened():
        assert process.poll() is None, f"the run ended with {process.returncode}"
        assert time.monotonic() < deadline
        time.sleep(0.005)
