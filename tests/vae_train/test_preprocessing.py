"""The preprocessing function and its lookups: side columns whatever they hold, and histories as the model sees them."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.vae_train.config import FeatureRules, SplitRule
from pipelines.vae_train.features.known import known_history
from pipelines.vae_train.features.side import side_sizes, write_sides
from transforms.errors import BadUsage

from . import features_oracle as oracle

ODD_VALUES = ["line\nbreak", "a\tb", " a", "a", "😀", "", None, "3", "z" * 5000, "\r", "a"]
COLUMNS = ("kind of/item", "price", "free")


def catalogue(ids: list[str]) -> pa.Table:
    places = range(len(ids))
    return pa.table(
        {
            "item_id": pa.array(ids),
            "kind of/item": pa.array([ODD_VALUES[place % len(ODD_VALUES)] for place in places]),
            "price": pa.array([[1.5, float("nan"), None, -2.0][place % 4] for place in places]),
            "free": pa.array([place % 3 == 0 for place in places]),
        }
    )


def numbers(values: list[object]) -> list[int]:
    """The number of each value: its place, from 1, among the distinct texts in UTF-8 order; 0 for none."""
    texts = [None if value is None or value == "" or value != value else text_of(value) for value in values]
    order = sorted({text for text in texts if text is not None}, key=str.encode)
    return [0 if text is None else order.index(text) + 1 for text in texts]


def text_of(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> oracle.Written:
    ids = [*oracle.ODD_IDS, "in the catalogue alone"]
    items = [*oracle.ODD_IDS, "not in the catalogue"]
    rows = [
        (f"u{user}", item, 1.0, place) for user in range(8) for place, item in enumerate(items) if (user + place) % 3
    ]
    return oracle.run(
        tmp_path_factory.mktemp("sides"),
        rows,
        FeatureRules(side_columns=COLUMNS, min_item_users=2),
        SplitRule("time", validation_fraction=0.3),
        catalogue=catalogue(ids),
    )


def test_side_columns_are_looked_up_by_id_whatever_ids_and_values_hold(written: oracle.Written) -> None:
    ids = [*oracle.ODD_IDS, "in the catalogue alone"]
    table = catalogue(ids)
    items = [item for item, _ in written.vocabulary]
    assert {*items} <= {*oracle.ODD_IDS, "not in the catalogue"}
    assert len(items) > 15
    found = oracle.read_examples(written.folder, "train", COLUMNS)
    assert len(found) > 3
    for column in COLUMNS:
        number = dict(zip(ids, numbers(table[column].to_pylist()), strict=True))
        for record in found.values():
            known = [(item, side) for item, side in zip(record["item_ids"], record[f"side_{column}"], strict=True)]
            assert [side for item, side in known if item >= 0] == [
                number.get(items[item], 0) for item, _ in known if item >= 0
            ]
    assert {0} < {side for record in found.values() for side in record["side_kind of/item"]}


def test_sizes_count_the_values_and_none(written: oracle.Written) -> None:
    values = catalogue([*oracle.ODD_IDS, "in the catalogue alone"])
    assert side_sizes(written.transform_dir) == {
        column: max(numbers(values[column].to_pylist())) + 1 for column in COLUMNS
    }


def test_vocabulary_order_is_most_users_first_ties_by_larger_bytes(written: oracle.Written) -> None:
    keys = [(users, item.encode()) for item, users in written.vocabulary]
    assert keys == sorted(keys, reverse=True)
    assert min(users for _, users in written.vocabulary) >= 2
    lines = (pathlib.Path(written.transform_dir) / "transform_fn/assets/items").read_bytes().split(b"\n")
    assert [line.decode() for line in lines] == [item for item, _ in written.vocabulary] + [""]


def test_no_side_columns_write_nothing(tmp_path: pathlib.Path) -> None:
    assert write_sides(catalogue(["a"]), (), str(tmp_path / "transform")) == {}
    assert side_sizes(str(tmp_path / "transform")) == {}
    assert not (tmp_path / "transform").exists()


def test_unusable_side_columns_are_named(tmp_path: pathlib.Path) -> None:
    table = pa.table({"item_id": ["a"], "tags": [["x", "y"]]})
    with pytest.raises(BadUsage, match="no column topic"):
        write_sides(table, ("topic",), str(tmp_path))
    with pytest.raises(BadUsage, match="column tags of --items holds list"):
        write_sides(table, ("tags",), str(tmp_path))


def test_side_files_are_the_same_for_chunked_and_dictionary_columns(tmp_path: pathlib.Path) -> None:
    plain = pa.table({"item_id": ["a", "b", "c"], "kind": ["y", None, "x"]})
    chunked = pa.concat_tables([plain.slice(0, 1), plain.slice(1)])
    encoded = plain.set_column(1, "kind", plain["kind"].dictionary_encode())
    for place, table in enumerate((plain, chunked, encoded)):
        files = write_sides(table, ("kind",), str(tmp_path / str(place)))["kind"]
        assert pathlib.Path(files.items).read_bytes() == b"a\nb\nc\n"
        assert pathlib.Path(files.values).read_bytes() == b"2\n0\n1\n"
        assert json.loads((tmp_path / str(place) / "sides" / "sizes.json").read_text()) == {"kind": 3}


@settings(max_examples=50)
@given(rows=st.lists(st.lists(st.integers(-1, 5), max_size=9), max_size=5))
def test_known_history_keeps_known_items_at_their_newest_place(rows: list[list[int]]) -> None:
    item_ids = tf.RaggedTensor.from_row_lengths(
        tf.constant([item for row in rows for item in row], tf.int64),
        [len(row) for row in rows] or tf.zeros([0], tf.int64),
    )
    places = item_ids.with_values(tf.range(tf.size(item_ids.values)))
    found, aligned = known_history(tf.cast(item_ids, tf.int64), {"place": places})
    start, expected_items, expected_places = 0, [], []
    for row in rows:
        newest = [place for place, item in enumerate(row) if item >= 0 and item not in row[place + 1 :]]
        expected_items.append([row[place] for place in newest])
        expected_places.append([start + place for place in newest])
        start += len(row)
    assert found.to_list() == expected_items
    assert aligned["place"].to_list() == expected_places
    assert found.dtype == tf.int64
    assert np.array_equal(found.row_splits, aligned["place"].row_splits)


def test_an_empty_catalogue_gives_every_item_no_value(tmp_path: pathlib.Path) -> None:
    table = pa.table({"item_id": pa.array([], pa.string()), "kind": pa.array([], pa.string())})
    files = write_sides(table, ("kind",), str(tmp_path))["kind"]
    assert side_sizes(str(tmp_path)) == {"kind": 1}
    assert pathlib.Path(files.items).read_bytes() == b"-\n"  # TensorFlow refuses an empty file
    assert pathlib.Path(files.values).read_bytes() == b"0\n"
