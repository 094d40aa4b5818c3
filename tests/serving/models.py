"""Models small enough to know every answer by heart, exported as a server finds them: NAME/1/saved_model.pb.

`export_models` needs TensorFlow and imports it when it is called. The functions beside it say what the models answer:
integers, so that float32 holds them exactly, whatever the order of the sums.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from serving_client.contracts import signatures as contract

ITEMS = [f"c{number:02d}" for number in range(50)]
"""The catalogue of `contract`, most popular first."""
TOP_K = 20
"""K of `contract`: shorter than the catalogue, so that rankings are cut; 31 items of history bring padding."""
SLOW_ROUNDS_PER_S = 300_000
"""Rounds that `slow` counts in about a second on one core of 2024; to choose a length, not to assert a time."""


def affinity(owned: int, candidate: int) -> int:
    """What an owned item adds to the score of a candidate in `contract`, both as numbers in ITEMS; 0 to 96."""
    return (owned * 31 + candidate * 17 + owned * candidate * 7) % 97


def score(history: Sequence[str], candidate: str) -> float:
    """`score_items` of `contract`: the affinities' sum, an item counting as often as it is there; popularity if none.

    -inf for a candidate that is not in ITEMS.
    """
    if candidate not in ITEMS:
        return float("-inf")
    column = ITEMS.index(candidate)
    known = [ITEMS.index(item) for item in history if item in ITEMS]
    if not known:
        return float(len(ITEMS) - column)
    return float(sum(affinity(item, column) for item in known))


def recommend(history: Sequence[str], exclude: Sequence[str] = ()) -> list[str]:
    """`items` of `contract` without their padding: best first, equal scores in the order of ITEMS, at most TOP_K."""
    unseen = [item for item in ITEMS if item not in history and item not in exclude]
    return sorted(unseen, key=lambda item: -score(history, item))[:TOP_K]


def export_models(directory: str | os.PathLike[str]) -> dict[str, Path]:
    """Writes the models below `directory` and returns the base path, the folder of versions, of each; each has 1.

    half_plus_two: `x` float32, any shape -> `y` = x / 2 + 2. Two further signatures: `identity` (`x` -> `y` = x) and
      `add` (`a`, `b` float32, any shape -> `sum`; shapes that do not broadcast are the kernel's own error).
    contract: the servable contract's four signatures over ITEMS; see `score`, `recommend`, `affinity`. assets.extra
      holds a warm-up request for each signature, and popularity.json.
    typed: `f` float32, `i` int32, `l` int64, `s` string, all [n], and `scale` float32 [], 2.0 where it is left out ->
      `f` = f * scale, `i` = i + 1, `l` = l + 1, `s` = s with "!" at its end, `text_bytes` = s.
    slow: `rounds` int64 [n] -> `rounds`, after counting to the largest of them; a deadline interrupts it.
    """
    from transforms.models.import_tensorflow import import_tensorflow

    tf = import_tensorflow()
    base = Path(directory)
    makers = {
        "half_plus_two": _half_plus_two,
        "contract": _contract,
        "typed": _typed,
        "slow": _slow,
    }
    paths = {name: base / name for name in makers}
    for name, make in makers.items():
        module, signatures = make(tf)
        tf.saved_model.save(module, str(paths[name] / "1"), signatures=signatures)
    write_warmup(paths["contract"] / "1")
    popular = {"items": ITEMS, "scores": [score([], item) for item in ITEMS]}
    (paths["contract"] / "1" / "assets.extra" / contract.POPULARITY_FILE).write_text(json.dumps(popular))
    return paths


def config_text(paths: Mapping[str, Path], **extras: str) -> str:
    """A ModelServerConfig with these models, name to base path; extras: name to what else its entry holds."""
    entries = (
        f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" {extras.get(name, "")} }}'
        for name, path in paths.items()
    )
    return f"model_config_list {{ {' '.join(entries)} }}"


def add_version(base: Path, version: int | str, like: int = 1) -> Path:
    """Copies version `like` to `version`, which appears whole, by rename; returns its folder."""
    work = base / f"tmp-{version}"
    shutil.copytree(base / str(like), work)
    return work.rename(base / str(version))


def write_warmup(version: Path, signatures: Sequence[str] = tuple(contract.SIGNATURES)) -> None:
    """A warm-up request for each signature of `contract`, as a trainer writes them."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    (version / "assets.extra").mkdir(exist_ok=True)
    inputs = {name: one.inputs for name, one in contract.SIGNATURES.items()}
    with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for signature in signatures:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = signature
            for name in inputs[signature]:
                request.inputs[name].CopyFrom(tf.make_tensor_proto([["c00", "c01", ""]], tf.string))
            writer.write(log.SerializeToString())


def _half_plus_two(tf):
    module = tf.Module()
    module.half, module.two = tf.Variable(0.5), tf.Variable(2.0)

    def half_plus_two(x):
        return {"y": x * module.half + module.two}

    def identity(x):
        return {"y": tf.identity(x)}

    def add(a, b):
        return {"sum": a + b}

    def spec(name):
        return tf.TensorSpec(None, tf.float32, name=name)

    return module, {
        "serving_default": _concrete(tf, half_plus_two, spec("x")),
        "identity": _concrete(tf, identity, spec("x")),
        "add": _concrete(tf, add, spec("a"), spec("b")),
    }


def _contract(tf):
    import numpy as np

    count = len(ITEMS)
    table = [[affinity(owned, column) for column in range(count)] for owned in range(count)]
    module = tf.Module()
    module.ids = tf.Variable(ITEMS, trainable=False)
    module.affinity = tf.Variable(np.asarray([*table, [0] * count], np.float32), trainable=False)
    module.popular = tf.Variable(np.arange(count, 0, -1, dtype=np.float32), trainable=False)
    module.index = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(ITEMS, tf.range(count, dtype=tf.int64)), default_value=count
    )

    def all_scores(rows):
        sums = tf.reduce_sum(tf.gather(module.affinity, rows), axis=1)
        known = tf.reduce_any(rows < count, axis=1, keepdims=True)
        return tf.where(known, sums, module.popular)

    def rank(rows, hidden):
        masked = tf.reduce_any(tf.one_hot(hidden, count, on_value=True, off_value=False, dtype=tf.bool), axis=1)
        scores = tf.where(masked, float("-inf"), all_scores(rows))
        best, columns = tf.math.top_k(scores, TOP_K)
        items = tf.where(tf.math.is_inf(best), "", tf.gather(module.ids, columns))
        return {"items": items, "scores": best}

    def serving_default(history):
        rows = module.index.lookup(history)
        return rank(rows, rows)

    def filtered(history, exclude):
        rows = module.index.lookup(history)
        return rank(rows, tf.concat([rows, module.index.lookup(exclude)], axis=1))

    def score_items(history, candidates):
        columns = module.index.lookup(candidates)
        scores = tf.pad(all_scores(module.index.lookup(history)), [[0, 0], [0, 1]], constant_values=float("-inf"))
        return {"scores": tf.gather(scores, columns, batch_dims=1)}

    def explain(history, candidates):
        rows = tf.gather(module.affinity, module.index.lookup(history))
        rows = tf.pad(rows, [[0, 0], [0, 0], [0, 1]])
        columns = module.index.lookup(candidates)
        return {"contributions": tf.transpose(tf.gather(rows, columns, axis=2, batch_dims=1), [0, 2, 1])}

    functions = {
        "serving_default": serving_default,
        "filtered": filtered,
        "score_items": score_items,
        "explain": explain,
    }

    def specs(name):
        return [tf.TensorSpec([None, None], tf.string, name=one) for one in contract.SIGNATURES[name].inputs]

    return module, {name: _concrete(tf, function, *specs(name)) for name, function in functions.items()}


def _typed(tf):
    module = tf.Module()

    def typed(f, i, l, s, scale=tf.constant(2.0)):  # noqa: B008, E741
        return {"f": f * scale, "i": i + 1, "l": l + 1, "s": s + "!", "text_bytes": tf.identity(s)}

    kinds = {"f": tf.float32, "i": tf.int32, "l": tf.int64, "s": tf.string}
    specs = [tf.TensorSpec([None], kind, name=name) for name, kind in kinds.items()]
    specs.append(tf.TensorSpec([], tf.float32, name="scale"))
    # Not its concrete function: TensorFlow looks for the defaults of arguments at the function itself.
    return module, {"serving_default": tf.function(typed, input_signature=specs, autograph=False)}


def _slow(tf):
    module = tf.Module()

    def slow(rounds):
        wanted = tf.reduce_max(rounds)
        done = tf.while_loop(lambda n: n < wanted, lambda n: [n + 1], [tf.constant(0, tf.int64)], parallel_iterations=1)
        return {"rounds": rounds + 0 * done[0]}

    return module, {"serving_default": _concrete(tf, slow, tf.TensorSpec([None], tf.int64, name="rounds"))}


def _concrete(tf, function, *specs):
    return tf.function(function, autograph=False).get_concrete_function(*specs)
