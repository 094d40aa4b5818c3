"""The exported SavedModel, loaded in a process that has never seen this project, against slow loops in plain Python.

Models and requests are made here, one fresh process answers all of them (it has TensorFlow, not recbeam), and the tests
compare its answers with `scoring_oracle`. Tests of what lies beside the model, and of refusals, follow.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from pipelines.batch_cf.export import export_model
from pipelines.batch_cf.table import NeighborTable
from serving_client.contracts import signatures as contract
from tests.batch_cf.scoring_oracle import STRANGE_IDS, Oracle, oracle_of, random_table
from tests.shared import build_once
from transforms.errors import BadInput, BadUsage

ANSWER = """
import json, sys, tensorflow as tf
models, answers = {}, []
for request in json.load(open("requests.json")):
    name = request["model"]
    model = models[name] = models.get(name) or tf.saved_model.load(f"{name}/moved")
    inputs = {
        key: tf.constant([s for row in ids for s in row], tf.string, request["shapes"][key])
        for key, ids in request["inputs"].items()
    }
    found = model.signatures[request["signature"]](**inputs)
    text = lambda x: x.decode() if isinstance(x, bytes) else [text(y) for y in x] if isinstance(x, list) else x
    answers.append({key: [text(value.numpy().tolist()), value.dtype.name, value.shape.as_list()]
                    for key, value in found.items()})
json.dump(answers, open("answers.json", "w"))
assert not any(name.split(".")[0] in ("pipelines", "transforms") for name in sys.modules)
"""

REQUESTS_PER_SIGNATURE = 40


@dataclasses.dataclass
class Model:
    """An exported table, what the oracle knows of it, and K."""

    table: NeighborTable
    oracle: Oracle
    width: int


def make_models() -> dict[str, Model]:
    rng = np.random.default_rng(7)
    plain = [f"item{i}" for i in range(40)]
    made = {}
    for name, ids, widest, unavailable, width, half_life in [
        ("plain", plain, 12, 0.0, 10, None),
        ("strange_ids_and_wider_than_the_catalogue", STRANGE_IDS, 8, 0.0, 30, None),
        ("recency", plain, 12, 0.3, 15, 2.5),
        ("one_item", ["only"], 0, 0.0, 3, None),
        ("no_pairs", plain[:5], 0, 0.0, 3, 1.0),
        ("nothing_available", plain[:6], 5, 1.0, 4, None),
    ]:
        table = random_table(rng, ids, widest, unavailable=unavailable)
        made[name] = Model(table, oracle_of(table, half_life), width)
    return made


def make_requests(models: dict[str, Model]) -> list[dict]:
    """Random ones of every shape, 0 included: padding anywhere, unknown ids, repetitions, users without history."""
    rng = np.random.default_rng(11)
    requests = []
    for name, model in models.items():
        ids = [*model.table.items.to_pylist(), "nobody knows", "item"]
        for signature in contract.SIGNATURES:
            for _ in range(REQUESTS_PER_SIGNATURE):
                rows = int(rng.integers(0, 4))
                inputs, shapes = {}, {}
                for argument in contract.SIGNATURES[signature].inputs:
                    width, padding = int(rng.integers(0, 9)), rng.choice([0.0, 0.3, 1.0], p=[0.4, 0.5, 0.1])
                    drawn = rng.choice(len(ids), (rows, width))
                    pads = rng.random((rows, width)) < padding
                    inputs[argument] = [
                        ["" if pads[r, c] else ids[drawn[r, c]] for c in range(width)] for r in range(rows)
                    ]
                    shapes[argument] = [rows, width]
                requests.append({"model": name, "signature": signature, "inputs": inputs, "shapes": shapes})
    return requests


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = build_once(tmp_path_factory, "batch_cf_models", export_and_answer)
    return folder, make_models()


def export_and_answer(folder):
    """Export all models, and let a fresh process answer all requests; nobody writes to the folder later."""
    made = make_models()
    for name, model in made.items():
        card = {"run_id": name, "title": "Größe"}
        path = folder / name / "model"
        export_model(
            model.table, path, serving_top_k=model.width, recency_half_life=model.oracle.half_life, model_card=card
        )
        path.rename(folder / name / "moved")  # nothing in it may point back to where it was written
    (folder / "requests.json").write_text(json.dumps(make_requests(made)))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([sys.executable, "-I", "-c", ANSWER], cwd=folder, check=True, env=environment)
    return folder


@pytest.fixture(scope="module")
def answered(models):
    folder, made = models
    requests = json.loads((folder / "requests.json").read_text())
    answers = json.loads((folder / "answers.json").read_text())
    return [(made[request["model"]], request, answer) for request, answer in zip(requests, answers, strict=True)]


def of(answered, *names):
    return [case for case in answered if case[1]["signature"] in names]


def test_recommendations_are_what_the_slow_loops_say(answered):
    cases = of(answered, contract.SERVING_DEFAULT, contract.FILTERED)
    assert len(cases) == 2 * len(make_models()) * REQUESTS_PER_SIGNATURE
    for model, request, answer in cases:
        histories = request["inputs"]["history"]
        excludes = request["inputs"].get("exclude", [[]] * len(histories))
        (items, items_type, items_shape), (scores, scores_type, scores_shape) = answer["items"], answer["scores"]
        assert (items_type, scores_type) == ("string", "float32")
        assert items_shape == scores_shape == [len(histories), model.width]
        for history, exclude, names, values in zip(histories, excludes, items, scores, strict=True):
            expected = model.oracle.recommend(history, exclude)[: model.width]
            pads = model.width - len(expected)
            assert names == [item for item, _ in expected] + [""] * pads, request
            assert values == pytest.approx([score for _, score in expected] + [-math.inf] * pads, rel=1e-6)


def test_scores_of_candidates_are_what_the_slow_loops_say(answered):
    for model, request, answer in of(answered, contract.SCORE_ITEMS):
        (scores, kind, shape), inputs = answer["scores"], request["inputs"]
        assert (kind, shape) == ("float32", request["shapes"]["candidates"])
        for history, candidates, row in zip(inputs["history"], inputs["candidates"], scores, strict=True):
            assert row == pytest.approx([model.oracle.score(history, c) for c in candidates], rel=1e-6), request


def test_contributions_are_what_the_slow_loops_say_and_add_up_to_the_score(answered):
    for model, request, answer in of(answered, contract.EXPLAIN):
        (contributions, kind, shape), inputs = answer["contributions"], request["inputs"]
        assert (kind, shape) == ("float32", [*request["shapes"]["candidates"], request["shapes"]["history"][1]])
        for history, candidates, rows in zip(inputs["history"], inputs["candidates"], contributions, strict=True):
            for candidate, row in zip(candidates, rows, strict=True):
                assert row == pytest.approx(model.oracle.contributions(history, candidate), rel=1e-6), request
                if model.oracle.weights(history) and candidate in model.oracle.users:
                    assert sum(row) == pytest.approx(model.oracle.score(history, candidate), rel=1e-6, abs=1e-12)


@pytest.fixture(scope="module")
def recency(models):
    """One model in this process, for the tests that ask the same thing in several ways."""
    import tensorflow as tf

    folder, made = models
    loaded = tf.saved_model.load(str(folder / "recency" / "moved"))

    def ask(signature, **inputs):
        tensors = {key: tf.constant(np.array(ids, object), tf.string) for key, ids in inputs.items()}
        return {key: value.numpy() for key, value in loaded.signatures[signature](**tensors).items()}

    return made["recency"], ask


def test_an_answer_does_not_depend_on_batch_mates_or_padding(recency):
    model, ask = recency
    rng = np.random.default_rng(3)
    ids = [*model.table.items.to_pylist(), "nobody knows"]
    histories = [list(rng.choice(ids, rng.integers(0, 20))) for _ in range(30)]
    candidates = list(rng.choice(ids, 9))
    padded = []
    for history in histories:  # 64 wide, padding in between and on both sides
        row = np.full(64, "", object)
        row[np.sort(rng.choice(64, len(history), replace=False))] = history
        padded.append(row.tolist())
    together = ask("serving_default", history=padded)
    scored = ask("score_items", history=padded, candidates=[[*candidates, ""]] * 30)["scores"]
    for place, history in enumerate(histories):
        row = np.array(history, object).reshape(1, -1)
        alone = ask("serving_default", history=row)
        assert alone["items"][0].tolist() == together["items"][place].tolist()
        assert alone["scores"].tobytes() == together["scores"][place].tobytes()
        assert ask("filtered", history=row, exclude=[[""] * 3])["scores"].tobytes() == alone["scores"].tobytes()
        one = ask("score_items", history=row, candidates=[candidates])["scores"][0]
        assert one.tobytes() == scored[place, :-1].tobytes()


def test_served_scores_are_those_of_score_items(recency):
    model, ask = recency
    history = [model.table.items.to_pylist()[:9]]
    served = ask("serving_default", history=history)
    names = [[name.decode() for name in served["items"][0]]]
    again = ask("score_items", history=history, candidates=names)["scores"]
    assert again.tobytes() == served["scores"].tobytes()


def test_the_older_of_two_occurrences_contributes_nothing(recency):
    model, ask = recency
    items = model.table.items.to_pylist()
    owned = next(place for place in range(len(items)) if np.diff(model.table.indptr)[place])
    neighbor = items[model.table.neighbors[model.table.indptr[owned]]]
    twice = [[items[owned], "", items[owned - 1], items[owned], "nobody knows"]]
    shares = ask("explain", history=twice, candidates=[[neighbor]])["contributions"][0, 0]
    assert shares[0] == 0
    assert shares[3] == model.table.scores[model.table.indptr[owned]]  # newest of all that count: weight 1


def test_the_graph_holds_no_python_function(models):
    from tensorflow.core.protobuf import saved_model_pb2

    folder, _ = models
    saved = saved_model_pb2.SavedModel.FromString((folder / "plain" / "moved" / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    operations = {node.op for node in graph.node} | {n.op for f in graph.library.function for n in f.node_def}
    assert "TopKV2" in operations
    assert not [name for name in operations if "py" in name.lower() and "func" in name.lower()]
    assert set(contract.SIGNATURES) <= set(saved.meta_graphs[0].signature_def)


def test_the_graph_does_not_grow_with_the_table(models):
    """Tables are in the checkpoint: a graph is one protobuf of at most 2 GB."""
    folder, made = models
    sizes = {name: (folder / name / "moved" / "saved_model.pb").stat().st_size for name in ("plain", "one_item")}
    assert len(made["plain"].table.items) == 40 * len(made["one_item"].table.items)
    assert sizes["plain"] < sizes["one_item"] * 1.1


def test_every_signature_is_warmed_up_by_a_request_it_can_answer(models):
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    folder, _ = models
    for name in ("plain", "one_item"):
        version = folder / name / "moved"
        loaded = tf.saved_model.load(str(version))
        warmed = set()
        for record in tf.data.TFRecordDataset(str(version / "assets.extra" / contract.WARMUP_FILE)):
            request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
            tensors = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
            assert tensors["history"].shape == [1, contract.HISTORY_WIDTH]
            answer = loaded.signatures[request.model_spec.signature_name](**tensors)
            assert set(answer) == set(contract.SIGNATURES[request.model_spec.signature_name].outputs)
            warmed.add(request.model_spec.signature_name)
        assert warmed == set(contract.SIGNATURES)


def test_model_card_and_popularity_lie_beside_the_model(models):
    folder, made = models
    for name, model in made.items():
        extra = folder / name / "moved" / "assets.extra"
        assert json.loads((extra / "model_card.json").read_text()) == {"run_id": name, "title": "Größe"}
        ranking = model.oracle.recommend([], [])
        assert json.loads((extra / "popularity.json").read_text()) == {
            "items": [item for item, _ in ranking],
            "scores": [score for _, score in ranking],
        }


def test_popularity_json_ends_at_1000_items(tmp_path):
    table = random_table(np.random.default_rng(0), [str(i) for i in range(1200)], 1)
    export_model(table, tmp_path / "model", model_card={})
    fallback = json.loads((tmp_path / "model" / "assets.extra" / "popularity.json").read_text())
    assert list(zip(fallback["items"], fallback["scores"], strict=True)) == oracle_of(table).recommend([], [])[:1000]


def test_what_cannot_be_served_is_refused_and_leaves_nothing(tmp_path):
    table = random_table(np.random.default_rng(0), ["a", "b", "c"], 2)
    (tmp_path / "there").mkdir()
    with pytest.raises(BadUsage, match="exists already"):
        export_model(table, tmp_path / "there", model_card={})
    with pytest.raises(BadUsage, match="--serving_top_k=0"):
        export_model(table, tmp_path / "model", serving_top_k=0, model_card={})
    with pytest.raises(BadUsage, match="--recency_half_life=nan"):
        export_model(table, tmp_path / "model", recency_half_life=math.nan, model_card={})
    with pytest.raises(BadInput, match="not finite"):
        infinite = dataclasses.replace(table, scores=np.full_like(table.scores, np.inf))
        export_model(infinite, tmp_path / "model", model_card={})
    empty = NeighborTable(
        items=pa.array([], pa.string()),
        indptr=np.zeros(1, np.int64),
        neighbors=np.zeros(0, np.int32),
        scores=np.zeros(0, np.float32),
        users=np.zeros(0, np.int64),
        available=np.zeros(0, np.bool_),
    )
    with pytest.raises(BadInput, match="at least one item"):
        export_model(empty, tmp_path / "model", model_card={})
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_an_export_that_fails_half_way_leaves_nothing(tmp_path):
    table = random_table(np.random.default_rng(0), ["a", "b", "c"], 2)
    with pytest.raises(TypeError, match="not JSON serializable"):
        export_model(table, tmp_path / "model", model_card={"run_id": object()})
    assert list(tmp_path.iterdir()) == []


def test_tensorflow_is_not_imported_before_a_model_is_written():
    code = "import sys, pipelines.batch_cf.export; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
