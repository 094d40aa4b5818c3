"""A request's features equal the training record's, however odd the ids; and they travel inside the saved model."""

from __future__ import annotations

import json
import pathlib
import random
import shutil
import subprocess
import sys

import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.vae_train.config import FeatureRules, SplitRule
from pipelines.vae_train.features.examples import parse
from pipelines.vae_train.features.known import known_history
from pipelines.vae_train.features.serving import ServingFeatures

from . import features_oracle as oracle

ITEMS = [*oracle.ODD_IDS, *(f"c{number}" for number in range(30)), "rare one", "ünknown ✨"]
SIDES = ("topic", "level")


def make_events(seed: int) -> list[oracle.Row]:
    """Events at distinct times, in order, with repeats of an item by the same user."""
    rng = random.Random(seed)
    weights = [1.0 / (1 + place) for place in range(len(ITEMS))]
    rng.shuffle(weights)
    return [
        (f"u{rng.randrange(60)}", item, 1.0, time) for time, item in enumerate(rng.choices(ITEMS, weights, k=1_500))
    ]


@pytest.fixture(scope="module")
def events() -> list[oracle.Row]:
    return make_events(21)


@pytest.fixture(scope="module")
def written(events: list[oracle.Row], tmp_path_factory: pytest.TempPathFactory) -> oracle.Written:
    known = [*ITEMS[::2], "an item without interactions"]
    catalogue = pa.table(
        {
            "item_id": known,
            "topic": [None if place % 5 == 0 else f"topic {place % 4}\n" for place in range(len(known))],
            "level": pa.array([place % 3 for place in range(len(known))]),
        }
    )
    rows = random.Random(1).sample(events, len(events))
    return oracle.run(
        tmp_path_factory.mktemp("skew"),
        rows,
        FeatureRules(min_item_users=4, max_items=40, side_columns=SIDES),
        SplitRule("user", validation_fraction=0.2),
        catalogue=catalogue,
        user_shards=2,
    )


@pytest.fixture(scope="module")
def serving(written: oracle.Written) -> ServingFeatures:
    return ServingFeatures(written.transform_dir)


def pad(rows: list[list[str]], rng: random.Random) -> tf.Tensor:
    """Rows of one width, with "" before, between and behind the ids."""
    width = max(map(len, rows), default=0) + 3
    padded = []
    for row in rows:
        padded.append(list(row))
        while len(padded[-1]) < width:
            padded[-1].insert(rng.randrange(len(padded[-1]) + 1), "")
    return tf.constant(padded, tf.string, shape=[len(rows), width])


def test_a_request_of_a_users_events_gives_the_features_of_the_users_record(
    events: list[oracle.Row], written: oracle.Written, serving: ServingFeatures
) -> None:
    raw: dict[int, list[str]] = {}
    for user, item, _, _ in events:
        raw.setdefault(oracle.key_of(user, 1), []).append(item)
    paths = [str(path) for path in (written.folder / "examples").glob("train-*.gz")]
    records = list(tf.data.TFRecordDataset(paths, compression_type="GZIP").as_numpy_iterator())
    parsed = parse(tf.constant(records), SIDES)
    trained, sides = known_history(parsed["item_ids"], {f"side_{side}": parsed[f"side_{side}"] for side in SIDES})
    keys = [key % 2**64 for key in parsed["user_key"].numpy().tolist()]
    served = serving(pad([raw[key] for key in keys], random.Random(2)))

    assert len(keys) > 30
    assert any(len(set(raw[key])) < len(raw[key]) for key in keys), "some repeat an item"
    assert any(-1 in ids for ids in parsed["item_ids"].to_list()), "some have unknown items"
    assert set(served) == {"item_ids", "side_topic", "side_level"}
    assert served["item_ids"].to_list() == trained.to_list()
    for name, values in sides.items():
        assert served[name].to_list() == values.to_list()
        assert any(0 in row for row in values.to_list())
        assert any(max(row, default=0) > 1 for row in values.to_list())


@settings(max_examples=40)
@given(
    rows=st.lists(st.lists(st.sampled_from([*ITEMS, "never seen", "x" * 2000]), max_size=12), max_size=4),
    data=st.data(),
)
def test_any_request_is_looked_up_in_the_vocabulary(
    rows: list[list[str]], data: st.DataObject, written: oracle.Written, serving: ServingFeatures
) -> None:
    index = {item: place for place, (item, _) in enumerate(written.vocabulary)}
    found = serving(pad(rows, data.draw(st.randoms(use_true_random=False))))
    assert found["item_ids"].to_list() == [
        [index[item] for place, item in enumerate(row) if item in index and item not in row[place + 1 :]]
        for row in rows
    ]


def test_an_item_that_nobody_trains_on_is_unknown(written: oracle.Written) -> None:
    records = {**written.examples["validation"], **written.examples["train"]}
    assert any(-1 in record["item_ids"] for record in records.values())
    assert "rare one" not in [item for item, _ in written.vocabulary] or len(written.vocabulary) == 40


class Servable(tf.Module):
    """The smallest model that holds the features."""

    def __init__(self, transform_dir: str) -> None:
        super().__init__()
        self.features = ServingFeatures(transform_dir)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, name="history")])
    def serve(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: each.to_tensor(-1) for name, each in self.features(history).items()}


LOAD = """
import json, sys
import tensorflow as tf
tf.config.experimental.enable_op_determinism()
model = tf.saved_model.load(sys.argv[1])
outputs = model.signatures["serving_default"](history=tf.constant(json.loads(sys.stdin.read())))
assert "tensorflow_transform" not in sys.modules
print(json.dumps({name: value.numpy().tolist() for name, value in outputs.items()}))
"""


def test_the_saved_model_needs_neither_the_folder_nor_tf_transform(
    written: oracle.Written, tmp_path: pathlib.Path
) -> None:
    here = tmp_path / "transform"
    shutil.copytree(written.transform_dir, here)
    model = Servable(str(here))
    history = [["", "never seen", *ITEMS[:20], *ITEMS[5:9], ""], ["x" * 1024] * 27, [""] * 27]
    expected = {name: value.numpy().tolist() for name, value in model.serve(tf.constant(history)).items()}
    tf.saved_model.save(model, str(tmp_path / "model"), signatures=model.serve)
    here.rename(tmp_path / "moved")
    moved = tmp_path / "elsewhere" / "model"
    moved.parent.mkdir()
    (tmp_path / "model").rename(moved)

    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, str(moved)], input=json.dumps(history), capture_output=True, text=True, check=False
    )
    assert loaded.returncode == 0, loaded.stderr
    assert json.loads(loaded.stdout) == expected
    assert max(expected["item_ids"][0]) > 0
    assert max(expected["side_topic"][0]) > 0
