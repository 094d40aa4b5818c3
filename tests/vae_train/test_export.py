"""The exported autoencoder: against slow loops in plain Python, and against the trained model it was made of.

Features and vocabulary are those of the real pipeline. Where a model's scores are whole numbers (`IntegerModel`) the
loops know every answer to the last bit and ties are frequent; where it is a Mult-VAE or RecVAE with random weights, its
own `scores` are the truth. Every model has left the folder it was exported from: TF-Transform's output is gone.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from pipelines.vae_train.config import ModelConfig
from pipelines.vae_train.export.graph import SIGNATURES
from pipelines.vae_train.export.saved_model import export_model
from pipelines.vae_train.export.verify import run_fresh
from pipelines.vae_train.features.items import FILE, Vocabulary, read_vocabulary
from pipelines.vae_train.features.side import side_sizes
from pipelines.vae_train.model.factory import make_model
from pipelines.vae_train.model.linear import LinearTerm, NeighborTerm, Term, blend
from serving_client.contracts import signatures as contract
from tests.batch_cf.scoring_oracle import STRANGE_IDS
from tests.shared import build_once
from tests.vae_train.exporting import IntegerModel, set_unavailable, unchecked, write_features, write_histories
from transforms.errors import BadInput, BadUsage, RecbeamError

PLAIN = [f"item{n}" for n in range(40)]
Ask = Callable[..., dict[str, np.ndarray]]


class Oracle:
    """The contract in plain Python. base, weights: as in IntegerModel, by index in the vocabulary."""

    def __init__(self, vocabulary: Vocabulary, base: np.ndarray, weights: np.ndarray, width: int) -> None:
        self.index = {one: place for place, one in enumerate(vocabulary.ids.to_pylist())}
        self.users, self.available = vocabulary.users.tolist(), vocabulary.available.tolist()
        self.base, self.weights, self.width = base, weights, width

    def counting(self, history: Sequence[str]) -> list[str]:
        return [one for n, one in enumerate(history) if one in self.index and one not in history[n + 1 :]]

    def score(self, history: Sequence[str], item: str) -> float:
        counting = self.counting(history)
        if item not in self.index:
            return -math.inf
        column = self.index[item]
        if not counting:
            return self.users[column]
        return self.base[column] + sum(n * self.weights[self.index[one], column] for n, one in enumerate(counting, 1))

    def recommend(self, history: Sequence[str], exclude: Sequence[str] = ()) -> list[tuple[str, float]]:
        allowed = [
            one for one in self.index if self.available[self.index[one]] and one not in history and one not in exclude
        ]
        ranked = sorted(allowed, key=lambda one: (-self.score(history, one), one.encode()))
        found = [(one, self.score(history, one)) for one in ranked[: self.width]]
        return found + [("", -math.inf)] * (self.width - len(found))


class Exported(NamedTuple):
    """A model served from `folder`, and what the loops know of it."""

    folder: pathlib.Path
    ask: Ask
    oracle: Oracle


def random_histories(ids: Sequence[str], users: int, seed: int) -> dict[str, list[str]]:
    """Everybody has at least one item; every item has a user."""
    rng = np.random.default_rng(seed)
    shown = {
        f"user{n}": list(rng.choice(ids, rng.integers(1, min(9, len(ids) + 1)), replace=False)) for n in range(users)
    }
    for n, one in enumerate(ids):
        if one not in shown[f"user{n % users}"]:
            shown[f"user{n % users}"].append(one)
    return shown


def serve(folder: pathlib.Path) -> Ask:
    """The signatures of a SavedModel in this process."""
    loaded = tf.saved_model.load(str(folder))

    def ask(signature: str, **inputs: Any) -> dict[str, np.ndarray]:
        tensors = {
            name: tf.reshape(tf.constant(np.array(rows, object), tf.string), [len(rows), len(rows[0]) if rows else 0])
            for name, rows in inputs.items()
        }
        return {name: value.numpy() for name, value in loaded.signatures[signature](**tensors).items()}

    return ask


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The features folder of PLAIN; whoever changes it makes a copy."""

    def build(root: pathlib.Path) -> pathlib.Path:
        log = write_histories(root / "log.parquet", random_histories(PLAIN, 80, 1))
        return pathlib.Path(write_features(root / "features", log))

    return build_once(tmp_path_factory, "vae_features", build)


@pytest.fixture(scope="module")
def models(features: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    exported = build_once(tmp_path_factory, "vae_models", functools.partial(export_integers, features))
    return {name: Exported(folder, serve(folder), oracle) for name, (folder, oracle) in exported.items()}


def export_integers(features: pathlib.Path, root: pathlib.Path) -> dict[str, tuple[pathlib.Path, Oracle]]:
    """Vocabularies times widths; the features folders are deleted once all are exported."""
    rng = np.random.default_rng(5)
    folders = {"plain": shutil.copytree(features, root / "features" / "plain")}
    set_unavailable(folders["plain"], PLAIN[::4])
    for name, ids in (("strange", STRANGE_IDS), ("one", ["only"])):
        log = write_histories(root / f"{name}.parquet", random_histories(ids, 60, 1))
        folders[name] = pathlib.Path(write_features(root / "features" / name, log))
    exported = {}
    for name, kind, width in (
        ("plain", "plain", 7),
        ("strange_ids_and_wider_than_the_catalogue", "strange", len(STRANGE_IDS) + 5),
        ("one_item", "one", 3),
        ("nothing_available", "plain", 4),
    ):
        if name == "nothing_available":
            set_unavailable(folders[kind], PLAIN)
        vocabulary = read_vocabulary(str(folders[kind]))
        base, weights = (rng.integers(-3, 4, shape) for shape in (len(vocabulary), (len(vocabulary), len(vocabulary))))
        folder = root / name / "model"
        card = {"run_id": name, "title": "Größe"}
        model = IntegerModel(base, weights)
        with unchecked():
            export_model(model, None, 1.0, folders[kind], folder, serving_top_k=width, model_card=card)
        folder.rename(root / name / "moved")
        exported[name] = (root / name / "moved", Oracle(vocabulary, base, weights, width))
    shutil.rmtree(root / "features")
    return exported


def draw(rng: np.random.Generator, ids: Sequence[str], rows: int) -> list[list[str]]:
    """Random ids with repetitions and padding anywhere, of one width for all rows, which may be 0."""
    width, padding = int(rng.integers(0, 12)), rng.choice([0.0, 0.3, 1.0], p=[0.4, 0.5, 0.1])
    drawn = rng.choice(np.array(ids, object), (rows, width))
    return [["" if rng.random() < padding else one for one in row] for row in drawn]


NAMES = ["plain", "strange_ids_and_wider_than_the_catalogue", "one_item", "nothing_available"]


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_what_the_slow_loops_say(name: str, models: dict[str, Exported]) -> None:
    """All signatures on every shape, 0 included; whole numbers, so scores and ties are compared exactly."""
    _, ask, oracle = models[name]
    rng = np.random.default_rng(9)
    ids = [*oracle.index, "nobody knows", "item"]
    for _ in range(60):
        rows = int(rng.integers(0, 4))
        histories, excludes, candidates = (draw(rng, ids, rows) for _ in range(3))
        for found, exclude in (
            (ask("serving_default", history=histories), [[]] * rows),
            (ask("filtered", history=histories, exclude=excludes), excludes),
        ):
            assert found["items"].shape == found["scores"].shape == (rows, oracle.width)
            for row in range(rows):
                expected = oracle.recommend(histories[row], exclude[row])
                assert [one.decode() for one in found["items"][row]] == [one for one, _ in expected], histories[row]
                assert found["scores"][row].tolist() == [score for _, score in expected]
        scores = ask("score_items", history=histories, candidates=candidates)["scores"]
        assert scores.dtype == np.float32 and scores.shape == (rows, len(candidates[0]) if rows else 0)
        for row in range(rows):
            assert scores[row].tolist() == [oracle.score(histories[row], one) for one in candidates[row]]


def test_an_unavailable_item_counts_in_a_history(models: dict[str, Exported]) -> None:
    _, ask, oracle = models["plain"]
    gone, there = PLAIN[0], PLAIN[1]
    assert not oracle.available[oracle.index[gone]]
    alone, both = (ask("serving_default", history=[history]) for history in ([there], [gone, there]))
    assert gone.encode() not in both["items"] and alone["scores"].tolist() != both["scores"].tolist()


class Trained(NamedTuple):
    """A real model, served, and `scores`: lists of item ids to what the model itself says, float32 [b, items] by id."""

    folder: pathlib.Path
    ask: Ask
    scores: Callable[[Sequence[Sequence[str]]], np.ndarray]


LEVELS = {one: 0 if n % 7 == 0 else 1 + n % 5 for n, one in enumerate(PLAIN)}
"""Side value of each item as the model sees it: 0 for none, else 1 for "level0", 2 for "level1"..."""
MODELS = {
    "recvae": (ModelConfig(hidden=16, latent=8), None, False),
    "recvae_linear": (ModelConfig(hidden=16, latent=8), 0.3, False),
    "recvae_neighbors": (ModelConfig(hidden=16, latent=8), 0.3, False),
    "multvae_recency": (ModelConfig(kind="multvae", hidden=16, latent=8, recency_half_life=2.0), None, False),
    "multvae_sides": (ModelConfig(kind="multvae", hidden=16, latent=8), None, True),
}
"""Configuration, share of the model beside a linear term, side columns."""


@pytest.fixture(scope="module")
def trained(features: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    exported = build_once(tmp_path_factory, "vae_trained", functools.partial(export_trained, features))
    made = {}
    for name, (folder, vocabulary, sizes) in exported.items():
        _, share, sided = MODELS[name]
        model, linear = weights_of(name, len(vocabulary), sizes)
        made[name] = Trained(folder, serve(folder), truth(model, linear, share, vocabulary, sided))
    return made


def weights_of(name: str, items: int, sizes: dict[str, int]) -> tuple[Any, Term | None]:
    """Weights are random and larger than the initial ones, so that users differ; the same in every process."""
    config, share, _ = MODELS[name]
    model = make_model(items, config, sizes, seed=3)
    for variable in model.trainable_variables:
        variable.assign(variable * 4)
    linear = None if share is None else linear_term(name, items)
    return model, linear


def export_trained(
    features: pathlib.Path, root: pathlib.Path
) -> dict[str, tuple[pathlib.Path, Vocabulary, dict[str, int]]]:
    """By name of MODELS the exported folder, its vocabulary and its side sizes. The features folders are gone."""
    levels = pa.array([f"level{LEVELS[one] - 1}" if LEVELS[one] else None for one in PLAIN])
    catalogue = pa.table({"item_id": PLAIN, "level": levels})
    log = write_histories(root / "log.parquet", random_histories(PLAIN, 80, 2))
    folders = {
        False: shutil.copytree(features, root / "plain"),
        True: pathlib.Path(write_features(root / "sided", log, items=catalogue)),
    }
    made = {}
    for name, (_, share, sided) in MODELS.items():
        vocabulary, sizes = read_vocabulary(str(folders[sided])), side_sizes(str(folders[sided] / "transform"))
        model, linear = weights_of(name, len(vocabulary), sizes)
        with contextlib.nullcontext() if linear or sided else unchecked():
            export_model(model, linear, share or 1.0, folders[sided], root / name, serving_top_k=10, model_card={})
        made[name] = (root / name, vocabulary, sizes)
    for folder in folders.values():
        shutil.rmtree(folder)
    return made


def linear_term(name: str, items: int) -> Term:
    """Random weights, of all pairs of items or of three neighbors an item."""
    rng = np.random.default_rng(6)
    if name == "recvae_linear":
        return LinearTerm(rng.normal(0, 0.1, (items, items)))
    neighbors = np.array([rng.permutation(items)[:3] for _ in range(items)])
    return NeighborTerm(neighbors, rng.random((items, 3)))


def truth(model: Any, linear: Term | None, share: float | None, vocabulary: Vocabulary, sided: bool) -> Any:
    ids = vocabulary.ids.to_pylist()
    index = {one: place for place, one in enumerate(ids)}
    order = [index[one] for one in sorted(ids, key=str.encode)]

    def scores(histories: Sequence[Sequence[str]]) -> np.ndarray:
        item_ids = tf.ragged.constant([[index[one] for one in row] for row in histories], tf.int64)
        levels = tf.ragged.constant([[LEVELS[one] for one in row] for row in histories], tf.int64)
        found = model.scores(item_ids, {"level": levels} if sided else {})
        if linear is not None:
            found = blend(found, linear.scores(item_ids), share)
        return found.numpy()[:, order]

    return scores


def some_histories(count: int) -> list[list[str]]:
    rng = np.random.default_rng(8)
    return [list(rng.choice(PLAIN, rng.integers(1, 20), replace=False)) for _ in range(count)]


def disguised(history: Sequence[str], width: int) -> list[str]:
    """The same history for a model: padding anywhere, an unknown id, and an older repetition of its newest item."""
    longer = [history[-1], *history, "nobody knows"]
    row = np.full(width, "", object)
    row[np.sort(np.random.default_rng(1).choice(width, len(longer), replace=False))] = longer
    return row.tolist()


@pytest.mark.parametrize("name", MODELS)
def test_a_served_model_scores_as_the_trained_one(name: str, trained: dict[str, Trained]) -> None:
    _, ask, scores = trained[name]
    histories, catalogue = some_histories(20), sorted(PLAIN)
    expected = scores(histories)
    assert np.ptp(expected, axis=0).max() > 0.1, "users do not differ; the test shows nothing"
    padded = [disguised(history, 32) for history in histories]
    served = ask("score_items", history=padded, candidates=[catalogue] * 20)["scores"]
    assert served == pytest.approx(expected, abs=1e-4)
    best = ask("serving_default", history=padded)
    for row, history in enumerate(histories):
        left = np.where(np.isin(catalogue, history), -np.inf, expected[row])
        items = [catalogue.index(one.decode()) for one in best["items"][row]]
        assert not np.isin(best["items"][row].astype(str), history).any()
        assert left[items] == pytest.approx(np.sort(left)[::-1][:10], abs=1e-4)
        assert best["scores"][row] == pytest.approx(left[items], abs=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_an_answer_does_not_depend_on_batch_mates_or_padding(name: str, trained: dict[str, Trained]) -> None:
    """To the last bits of the logits; the random scores here are further apart than that, so items are the same."""
    _, ask, _ = trained[name]
    histories = some_histories(12)
    together = ask("serving_default", history=[disguised(history, 40) for history in histories])
    for row, history in enumerate(histories):
        alone = ask("filtered", history=[history], exclude=[["", "nobody knows"]])
        assert alone["items"][0].tolist() == together["items"][row].tolist()
        assert alone["scores"][0] == pytest.approx(together["scores"][row], rel=1e-4, abs=1e-4)
        names = [[one.decode() for one in alone["items"][0]]]
        again = ask("score_items", history=[history], candidates=names)["scores"]
        assert again == pytest.approx(alone["scores"], abs=1e-4)


def test_without_a_known_item_scores_are_numbers_of_users(trained: dict[str, Trained]) -> None:
    """Beside a row with a history, in one batch; also with a linear term, whose sum over nothing has no spread."""
    shown = random_histories(PLAIN, 80, 1)
    _, ask, _ = trained["recvae_linear"]
    found = ask("serving_default", history=[["", "nobody knows"], ["item3", ""]])
    users = [sum(one.decode() in items for items in shown.values()) for one in found["items"][0]]
    assert found["scores"][0].tolist() == sorted(found["scores"][0], reverse=True)
    assert (found["scores"][0] <= users).all() and (found["scores"][0] >= 1).all()  # validation users are not counted
    assert (found["scores"][1] < 10).all()


def test_what_only_training_needs_is_not_in_the_saved_model(
    models: dict[str, Exported], trained: dict[str, Trained]
) -> None:
    """IntegerModel holds 800 KB that no signature reads, and RecVAE's prior an encoder of its own."""
    size = sum(file.stat().st_size for file in models["plain"].folder.rglob("*") if file.is_file())
    assert size < 400_000
    variables = tf.train.list_variables(str(trained["recvae"].folder / "variables" / "variables"))
    kernels = [shape for _, shape in variables if shape == [len(PLAIN), 16]]
    assert len(kernels) == 1


def test_the_graph_holds_its_signatures_and_no_python_function(trained: dict[str, Trained]) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    for model in trained.values():
        saved = saved_model_pb2.SavedModel.FromString((model.folder / "saved_model.pb").read_bytes())
        graph = saved.meta_graphs[0].graph_def
        operations = {node.op for node in graph.node} | {n.op for f in graph.library.function for n in f.node_def}
        assert "TopKV2" in operations
        assert not [name for name in operations if "py" in name.lower() and "func" in name.lower()]
        signatures = saved.meta_graphs[0].signature_def
        assert set(signatures) - {"__saved_model_init_op"} == set(SIGNATURES)
        for name in SIGNATURES:
            assert set(signatures[name].inputs) == set(contract.SIGNATURES[name].inputs)
            assert set(signatures[name].outputs) == set(contract.SIGNATURES[name].outputs)
            for tensor in signatures[name].inputs.values():
                assert [one.size for one in tensor.tensor_shape.dim] == [-1, -1]


def test_every_signature_is_warmed_up_by_a_request_it_can_answer(models: dict[str, Exported]) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    for name in ("plain", "one_item", "nothing_available"):
        warmed = []
        for record in tf.data.TFRecordDataset(str(models[name].folder / "assets.extra" / contract.WARMUP_FILE)):
            request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
            inputs = {key: tf.make_ndarray(value).astype(str).tolist() for key, value in request.inputs.items()}
            assert len(inputs["history"][0]) == contract.HISTORY_WIDTH
            answer = models[name].ask(request.model_spec.signature_name, **inputs)
            assert set(answer) == set(contract.SIGNATURES[request.model_spec.signature_name].outputs)
            warmed.append(request.model_spec.signature_name)
        assert warmed == list(SIGNATURES)


def test_model_card_and_popularity_lie_beside_the_model(models: dict[str, Exported]) -> None:
    for name, model in models.items():
        extra = model.folder / "assets.extra"
        assert json.loads((extra / "model_card.json").read_text()) == {"run_id": name, "title": "Größe"}
        fallback = json.loads((extra / "popularity.json").read_text())
        served = model.ask("serving_default", history=[[]])
        known = [one.decode() for one in served["items"][0] if one]
        assert fallback["items"][: len(known)] == known
        assert fallback["scores"][: len(known)] == served["scores"][0][: len(known)].tolist()
        assert len(fallback["items"]) == sum(model.oracle.available)


def test_a_fresh_process_answers_requests_of_no_rows_and_no_columns(models: dict[str, Exported], tmp_path) -> None:
    inputs = [[], [[], []]]
    answers = run_fresh(
        models["plain"].folder,
        tmp_path,
        [{"signature": "serving_default", "inputs": {"history": rows}} for rows in inputs],
    )
    assert [answers[f"{n}/items"].shape for n in range(2)] == [(0, 7), (2, 7)]


class Pythonic(IntegerModel):
    """A model that works in the process that exports it and nowhere else."""

    def scores(self, item_ids: Any, sides: Any) -> Any:
        """The same through Python."""
        right = super().scores(item_ids, sides)
        return tf.ensure_shape(tf.numpy_function(lambda x: x, [right], tf.float32), [None, len(PLAIN)])


class TwoFaced(IntegerModel):
    """A model whose graph is not what it computes when called, as with Python side effects or a forgotten flag."""

    def scores(self, item_ids: Any, sides: Any) -> Any:
        """Shifted by one item while it is traced."""
        right = super().scores(item_ids, sides)
        return right if tf.executing_eagerly() else tf.roll(right, 1, axis=1)


def random_integers(kind: type[IntegerModel]) -> IntegerModel:
    rng = np.random.default_rng(2)
    return kind(rng.integers(-9, 9, len(PLAIN)), rng.integers(-9, 9, (len(PLAIN), len(PLAIN))))


@pytest.mark.parametrize(("kind", "says"), [(Pythonic, "fails in a fresh process"), (TwoFaced, "does not answer as")])
def test_a_model_that_a_fresh_process_cannot_serve_is_not_written(kind, says, features: pathlib.Path, tmp_path) -> None:
    model = random_integers(kind)
    with pytest.raises(RecbeamError, match=says):
        export_model(model, None, 1.0, features, tmp_path / "model", model_card={})
    assert list(tmp_path.iterdir()) == []


def test_a_vocabulary_in_another_order_than_the_graphs_is_found(features: pathlib.Path, tmp_path) -> None:
    """vocabulary.parquet says what the model's columns are, transform/ what its rows are: both must be of one run."""
    mixed = shutil.copytree(features, tmp_path / "features")
    table = pq.read_table(mixed / FILE)
    pq.write_table(table.take(list(range(len(PLAIN)))[::-1]), mixed / FILE)
    model = random_integers(IntegerModel)
    with pytest.raises(
        RecbeamError, match="does not answer as the trained model, nothing was written: serving_default"
    ):
        export_model(model, None, 1.0, mixed, tmp_path / "out" / "model", model_card={})
    assert list((tmp_path / "out").iterdir()) == []


def test_what_cannot_be_served_is_refused_and_leaves_nothing(features: pathlib.Path, tmp_path) -> None:
    model = random_integers(IntegerModel)
    (tmp_path / "there").mkdir()
    with pytest.raises(BadUsage, match="exists already"):
        export_model(model, None, 1.0, features, tmp_path / "there", model_card={})
    with pytest.raises(BadUsage, match="--serving_top_k=0"):
        export_model(model, None, 1.0, features, tmp_path / "model", serving_top_k=0, model_card={})
    with pytest.raises(BadUsage, match="share=2"):
        export_model(model, LinearTerm(np.zeros((40, 40))), 2, features, tmp_path / "model", model_card={})
    diverged = IntegerModel(np.full(len(PLAIN), np.nan), np.zeros((len(PLAIN), len(PLAIN))))
    with pytest.raises(RecbeamError, match="scores are not finite"):
        export_model(diverged, None, 1.0, features, tmp_path / "model", model_card={})
    empty = shutil.copytree(features, tmp_path / "there" / "features")
    pq.write_table(pq.read_table(empty / FILE).slice(0, 0), empty / FILE)
    with pytest.raises(BadInput, match="at least one item"):
        export_model(model, None, 1.0, empty, tmp_path / "model", model_card={})
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_tensorflow_is_not_imported_before_a_model_is_written() -> None:
    code = "import sys, pipelines.vae_train.export.saved_model; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
