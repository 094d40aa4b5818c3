"""The promotion gate of `evaluate` against models that a training run can leave behind and nobody should be served.

A log of six communities, whose users take items of their own community, is split; a Mult-VAE is trained on the train
part for a second and published. Then the same architecture comes with its initial weights, with its trained weights in
another order of items, and with every user's list collapsed to the popular items. All are real SavedModels by the
export, which has no objection: each answers exactly what its weights say. Only the held-out users tell.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from pipelines.evaluate.__main__ import main
from pipelines.vae_train.config import ModelConfig
from pipelines.vae_train.export.saved_model import export_model
from pipelines.vae_train.features.items import read_vocabulary
from pipelines.vae_train.model.adam import Adam
from pipelines.vae_train.model.interface import Batch, NoiseKeys
from pipelines.vae_train.model.multvae import MultVae
from pipelines.vae_train.training.reading import read_users
from tests.shared import build_once
from tests.vae_train.exporting import IntegerModel, unchecked, write_features, write_histories
from transforms.models.publish import publish, versions

COMMUNITIES, ITEMS_EACH, USERS, TAKEN = 6, 12, 360, 8
CONFIG = ModelConfig(kind="multvae", hidden=32, latent=16)
STEPS = 120


class World(NamedTuple):
    """Files of a split, and models exported by name: good, untrained, shuffled, popular."""

    split: pathlib.Path
    models: dict[str, pathlib.Path]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_once(tmp_path_factory, "gate_world", make_world)


def make_world(root: pathlib.Path) -> World:
    log = write_histories(root / "log.parquet", communities())
    assert main(["split", f"--interactions={log}", f"--output={root}/split", "--by=user", "--holdout=0.3"]) == 0
    features = write_features(root / "features", f"{root}/split/train")
    vocabulary = read_vocabulary(features)
    good = trained(features, len(vocabulary))
    made = {
        "good": good,
        "untrained": MultVae(len(vocabulary), CONFIG, {}, seed=1),
        "shuffled": shuffled(good, len(vocabulary)),
        "popular": IntegerModel(vocabulary.users, np.zeros((len(vocabulary), len(vocabulary)))),
    }
    models = {name: root / name for name in made}
    for name, model in made.items():
        with contextlib.nullcontext() if name in ("good", "shuffled") else unchecked():
            export_model(model, None, 1.0, features, models[name] / "model", model_card={"run_id": name})
    return World(root / "split", models)


def communities() -> dict[str, list[str]]:
    """Each user takes 8 of the 12 items of one community and one of any other; items differ in popularity."""
    rng = np.random.default_rng(12)
    chances = np.linspace(2, 1, ITEMS_EACH) / np.linspace(2, 1, ITEMS_EACH).sum()
    histories = {}
    for user in range(USERS):
        own = user % COMMUNITIES * ITEMS_EACH + rng.choice(ITEMS_EACH, TAKEN, replace=False, p=chances)
        taken = np.unique(np.append(own, rng.integers(COMMUNITIES * ITEMS_EACH)))
        histories[f"user{user}"] = [f"item{one:02d}" for one in rng.permutation(taken)]
    return histories


def trained(features: str, items: int) -> MultVae:
    """All training users in every step."""
    users = read_users(features, "train")
    model = MultVae(items, CONFIG, {}, seed=1)
    adam = Adam(model.variables_of("all"), 0.01, lazy=False)
    item_ids = tf.RaggedTensor.from_row_splits(users.items.items.astype(np.int64), users.items.indptr)
    batch = Batch(tf.constant(users.keys), item_ids, item_ids.with_values(tf.constant(users.weights)), {})

    @tf.function
    def step(number: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = model.loss(batch, NoiseKeys(1, number, number), "all", 0.1).total / float(len(users))
        variables = model.variables_of("all")
        adam.apply(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    losses = [float(step(tf.constant(number, tf.int64))) for number in range(STEPS)]
    assert losses[-1] < losses[0] * 0.9
    return model


def shuffled(good: MultVae, items: int) -> MultVae:
    """The trained weights behind another run's vocabulary: what belongs to item i lies at another item's place."""
    model = MultVae(items, CONFIG, {}, seed=1)
    order = np.random.default_rng(4).permutation(items)
    for mine, its in zip(model.variables, good.variables, strict=True):
        per_item = its.shape[0] == items
        mine.assign(tf.gather(its, order) if per_item else its)
    return model


def evaluate(world: World, output: pathlib.Path, candidate: str, model_dir: pathlib.Path) -> int:
    places = [f"--interactions={world.split}/train", f"--holdout={world.split}/holdout", f"--output={output}"]
    model = [f"--model=candidate={world.models[candidate]}", f"--publish=candidate:{model_dir}"]
    return main(["evaluate", *places, *model, "--k=5,10"])


def gate_of(output: pathlib.Path) -> dict[str, Any]:
    [gate] = json.loads((output / "metrics.json").read_text())["gates"]
    return gate


def test_a_good_first_model_is_published(world: World, tmp_path, capsys) -> None:
    """Nothing is served yet, so that it is compared with popularity, and better than that by far."""
    assert evaluate(world, tmp_path / "out", "good", tmp_path / "served") == 0
    assert "holds no version, so the gate compares with popularity" in capsys.readouterr().err
    gate = gate_of(tmp_path / "out")
    assert gate["gate"] == "candidate>=popularity:ndcg@10" and gate["interval_95"][0] > 0.2
    [folder] = versions(tmp_path / "served").values()
    assert json.loads((pathlib.Path(folder) / "assets.extra/model_card.json").read_text())["run_id"] == "good"


@pytest.mark.parametrize("candidate", ["untrained", "shuffled", "popular"])
def test_a_bad_model_is_refused_and_what_is_served_stays(candidate: str, world: World, tmp_path, capsys) -> None:
    served = tmp_path / "served"
    version = publish(world.models["good"] / "model", served)
    assert evaluate(world, tmp_path / "out", candidate, served) == 4
    assert list(versions(served)) == [version]
    gate = gate_of(tmp_path / "out")
    assert gate["gate"] == "candidate>=serving:ndcg@10" and gate["passed"] is False
    low, high = gate["interval_95"]
    assert low < gate["difference"] < high < -0.2
    assert gate["candidate"] - gate["baseline"] == pytest.approx(gate["difference"])
    found = json.loads((tmp_path / "out/metrics.json").read_text())
    assert found["models"]["serving"]["source"] == str(served / str(version))
    assert found["data"]["users_evaluated"] > 90
    assert gate["sentence"] in (tmp_path / "out/report.html").read_text()
    assert "refused, nothing was published: candidate 0." in capsys.readouterr().err.splitlines()[-1]


def test_a_model_as_good_as_the_served_one_replaces_it(world: World, tmp_path) -> None:
    served = tmp_path / "served"
    version = publish(world.models["good"] / "model", served)
    assert evaluate(world, tmp_path / "out", "good", served) == 0
    assert gate_of(tmp_path / "out")["difference"] == 0.0
    assert sorted(versions(served))[0] == version and len(versions(served)) == 2


def test_the_same_weights_behind_another_vocabulary_are_another_model(world: World, tmp_path, capsys) -> None:
    """run.json knows a model by its files, of which the vocabulary is one: "already done" would be a lie here."""
    copy = tmp_path / "copy"
    source = world.models["good"] / "model"
    for file in source.rglob("*"):
        if file.is_file():
            (copy / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (copy / file.relative_to(source)).write_bytes(file.read_bytes())
    places = [f"--interactions={world.split}/train", f"--holdout={world.split}/holdout", "--k=5,10"]
    arguments = ["evaluate", *places, f"--output={tmp_path}/out", f"--model=one={copy}"]
    assert main(arguments) == 0
    assert main(arguments) == 0 and "already done" in capsys.readouterr().err
    lines = (copy / "assets" / "items").read_bytes().splitlines(keepends=True)
    (copy / "assets" / "items").write_bytes(b"".join(reversed(lines)))
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
