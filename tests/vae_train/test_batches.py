"""Batches of training users: complete, in the order of the hash, and the same from wherever one begins."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.vae_train.features.examples import parse
from pipelines.vae_train.features.known import known_history
from pipelines.vae_train.training.batches import TrainingExamples, open_examples, training_batches
from pipelines.vae_train.training.order import user_order
from pipelines.vae_train.training.reading import known_of
from tests.vae_train.training_data import clustered_users, example, quick, write_split
from transforms.errors import BadInput

USERS = clustered_users(23, 30, seed=3)
KEYS = np.array([user["user_key"] for user in USERS], np.uint64)


def keys_of(examples: TrainingExamples, batches: int, *, pass_number: int = 0, start: int = 0, **config: object):
    data = training_batches(examples, quick(batch_users=5, **config), pass_number, start)
    return [batch.user_keys.numpy().tolist() for batch in data.take(batches)]


def expected(pass_number: int, seed: int = 1) -> list[list[int]]:
    order = user_order(tf.constant(KEYS), seed, tf.constant(pass_number, tf.int64)).numpy()
    return [KEYS[order][start : start + 5].tolist() for start in range(0, len(KEYS), 5)]


@pytest.fixture(params=[1, 4, 30], ids="shards={}".format)
def features(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
    write_split(tmp_path, "train", USERS, request.param)
    return str(tmp_path)


@pytest.mark.parametrize("streamed", [False, True])
def test_users_who_fit_the_window_come_in_the_order_of_the_hash_whatever_the_shards(
    features: str, streamed: bool
) -> None:
    examples = open_examples(features, 23)
    assert examples.held is not None
    if streamed:
        examples = dataclasses.replace(examples, held=None)
    assert examples.users == 23
    # 5 batches a pass, the last of 3 users
    assert keys_of(examples, 10, shuffle_users=23) == expected(0) + expected(1)
    assert keys_of(examples, 5, shuffle_users=23, seed=2) == expected(0, seed=2)


# With 1000 all users are held in memory. Their order does not depend on the shards, as the test above shows.
@pytest.mark.parametrize(
    ("features", "shuffle_users"), [(1, 7), (4, 7), (30, 7), (4, 1000)], indirect=["features"], ids=str
)
@pytest.mark.parametrize(("pass_number", "start"), [(0, 1), (0, 4), (0, 5), (3, 2)])
def test_a_run_that_begins_in_mid_pass_sees_what_it_would_have_seen(
    features: str, shuffle_users: int, pass_number: int, start: int
) -> None:
    examples = open_examples(features, shuffle_users)
    whole = keys_of(examples, 25, shuffle_users=shuffle_users)
    rest = keys_of(examples, 4, pass_number=pass_number, start=start, shuffle_users=shuffle_users)
    assert rest == whole[5 * pass_number + start :][:4]


def test_more_users_than_fit_are_all_seen_once_a_pass_and_shuffled_within_windows(features: str) -> None:
    examples = open_examples(features, 7)
    assert examples.held is None
    assert examples.users == 23
    batches = keys_of(examples, 10, shuffle_users=7)
    first, second = ([key for batch in half for key in batch] for half in (batches[:5], batches[5:]))
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 3] * 2
    assert sorted(first) == sorted(second) == sorted(KEYS.tolist())
    assert first != second
    for start in range(0, 23, 7):
        window = np.array(first[start : start + 7], np.uint64)
        assert user_order(tf.constant(window), 1, tf.constant(0, tf.int64)).numpy().tolist() == list(range(len(window)))


def test_both_ways_of_reading_give_the_same_items_weights_and_sides(tmp_path: pathlib.Path) -> None:
    users = [
        {
            "user_key": 1 << 63 | 5,
            "item_ids": [3, -1, 0, -1],
            "weights": [1.0, 9.0, 0.0, 9.0],
            "side_topic": [2, 7, 0, 7],
        },
        {"user_key": 6, "item_ids": [2], "weights": [0.5], "side_topic": [1]},
    ]
    write_split(tmp_path, "train", users)
    held = open_examples(str(tmp_path), 10, ["topic"])
    for examples in (held, dataclasses.replace(held, held=None)):
        batch = next(iter(training_batches(examples, quick())))
        place = batch.user_keys.numpy().tolist().index((1 << 63) + 5)
        assert batch.item_ids.dtype == batch.sides["topic"].dtype == tf.int64
        assert batch.item_ids.to_list()[place] == [3, 0]
        assert batch.weights.to_list()[place] == [1.0, 0.0]
        assert batch.sides["topic"].to_list()[place] == [2, 0]
        assert batch.item_ids.to_list()[1 - place] == [2]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    histories=st.lists(st.lists(st.integers(0, 9), unique=True), min_size=1, max_size=6),
    strangers=st.integers(0, 3),
)
def test_reading_leaves_out_what_serving_leaves_out(histories: list[list[int]], strangers: int) -> None:
    """Examples hold each item once, so the reader looks for unknown items alone."""
    users = []
    for history in histories:
        items = history + [-1] * strangers
        users.append({"user_key": 1, "item_ids": items, "weights": [float(i) for i in range(len(items))]})
    parsed = parse(tf.constant([example(user) for user in users]))
    known = known_of(parsed, ())
    items, aligned = known_history(parsed["item_ids"], {"weights": parsed["weights"]})
    assert known.items.to_list() == items.to_list()
    assert known.weights.to_list() == aligned["weights"].to_list()


def test_damaged_and_missing_examples_are_bad_input(tmp_path: pathlib.Path) -> None:
    with pytest.raises(BadInput, match="holds no training user"):
        open_examples(str(tmp_path), 10)
    write_split(tmp_path, "train", USERS)
    file = next((tmp_path / "examples").iterdir())
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(BadInput, match="cannot be read as training examples"):
        open_examples(str(tmp_path), 100)
    with pytest.raises(BadInput, match="cannot be read as training examples"):
        open_examples(str(tmp_path), 3)
