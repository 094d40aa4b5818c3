"""Two replicas of a process, and two processes, make the weights that one makes."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from pipelines.vae_train.featuring import await_features
from pipelines.vae_train.training.distribution import open_distribution, replica_part
from pipelines.vae_train.training.journal import read_journal
from pipelines.vae_train.training.loop import Trained, train
from tests.vae_train.training_data import TINY, quick, write_features
from transforms.errors import BadUsage, RecbeamError

ITEMS = 30
ROOT = pathlib.Path(__file__).resolve().parents[2]
DEADLINE_S = 300


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Trained]:
    """Features of 81 users, so that the last batch, of one user, leaves a second replica without any."""
    folder = tmp_path_factory.mktemp("single")
    features = write_features(folder / "features", ITEMS, users=81)
    return features, train(features, str(folder / "work"), ITEMS, TINY, quick(epochs=2))


def start(features: str, work: pathlib.Path, distribute: str, cpus: int = 1, **task: str) -> subprocess.Popen:
    work.mkdir(exist_ok=True)
    model = json.dumps({"hidden": TINY.hidden, "latent": TINY.latent})
    settings = {"epochs": 2, "batch_users": 16, "learning_rate": 5e-3, "deterministic": True, "distribute": distribute}
    arguments = [features, str(work), str(ITEMS), model, json.dumps(settings), str(cpus)]
    command = [sys.executable, "-m", "tests.vae_train.worker", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **task})


def assert_close(path: pathlib.Path, trained: Trained) -> None:
    with np.load(path) as found:
        assert found["best"] == trained.best_epoch
        for place, variable in enumerate(trained.model.variables):
            np.testing.assert_allclose(found[str(place)], variable.numpy(), rtol=1e-4, atol=1e-6)


def test_two_devices_of_a_machine_train_as_one(single: tuple[str, Trained], tmp_path: pathlib.Path) -> None:
    features, trained = single
    assert start(features, tmp_path, "mirrored", cpus=2).wait(DEADLINE_S) == 0
    assert_close(tmp_path / "weights-0.npz", trained)


def test_two_processes_train_as_one_and_the_chief_alone_writes(
    single: tuple[str, Trained], tmp_path: pathlib.Path
) -> None:
    features, trained = single
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    configs = [json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}) for index in range(2)]
    workers = [start(features, tmp_path, "multiworker", TF_CONFIG=config) for config in configs]
    assert [worker.wait(DEADLINE_S) for worker in workers] == [0, 0]
    for index in range(2):
        assert_close(tmp_path / f"weights-{index}.npz", trained)
    assert [line["epoch"] for line in read_journal(str(tmp_path / "training.jsonl"))] == [1, 2]
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def test_the_rows_of_a_batch_are_divided_by_remainder() -> None:
    class Context:
        replica_id_in_sync_group = 1
        num_replicas_in_sync = 3

    assert replica_part(tf.constant(8, tf.int64), Context()).numpy().tolist() == [1, 4, 7]
    assert replica_part(tf.constant(1, tf.int64), Context()).numpy().tolist() == []


@pytest.mark.parametrize("config", ["", "{}", '{"cluster": {}, "task": {}}', "[]"])
def test_several_workers_need_tf_config(monkeypatch: pytest.MonkeyPatch, config: str) -> None:
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(BadUsage, match="TF_CONFIG must name cluster and task"):
        open_distribution("multiworker")


def test_one_worker_alone_is_chief_and_agrees_with_itself() -> None:
    distribution = open_distribution("none")
    assert distribution.chief
    assert distribution.replicas == 1
    assert distribution.agreed({"ndcg@100": 0.25}) == {"ndcg@100": 0.25}


def test_a_worker_whose_chief_refused_the_input_does_not_wait_on(tmp_path: pathlib.Path) -> None:
    """The chief's workspace appears, and goes when the input is refused."""
    workspace = tmp_path / "workspace"
    moments = iter([workspace.mkdir, workspace.rmdir, lambda: pytest.fail("it goes on waiting")])
    with pytest.raises(RecbeamError, match="the chief stopped"):
        await_features(str(workspace / "features"), sleep=lambda _: next(moments)())


def test_a_worker_waits_for_the_features_of_its_chief(tmp_path: pathlib.Path) -> None:
    features = tmp_path / "workspace/features"

    def make(_: float) -> None:
        features.mkdir(parents=True)
        (features / "facts.json").write_text('{"items": 7}')

    assert await_features(str(features), sleep=make).items == 7
    with pytest.raises(RecbeamError, match=r"in 0.0\d+ hours"):
        await_features(str(tmp_path / "nowhere"), sleep=lambda _: None, patience_s=60)
