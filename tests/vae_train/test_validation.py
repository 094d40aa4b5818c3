"""NDCG and recall of held-out users against the plain formula, written out per user."""

from __future__ import annotations

import math
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from pipelines.vae_train.training import validation
from pipelines.vae_train.training.heldout import HeldOut, number_targets, read_heldout
from pipelines.vae_train.training.validation import best_items, evaluate
from tests.vae_train.training_data import clustered_users, write_split
from transforms.ranking.lists import Lists

ITEMS = 30


def table(given, _):
    """Scores that depend on the history: a fixed row per item, summed."""
    rows = np.random.default_rng(0).integers(0, 5, (ITEMS, ITEMS)).astype(np.float32)
    history = tf.reduce_sum(tf.one_hot(given, ITEMS), axis=1)
    return tf.matmul(history.to_tensor() if isinstance(history, tf.RaggedTensor) else history, rows)


def slow(scores, given: list[int], targets: list[int], k: int) -> tuple[float, float]:
    ranked = [item for item in sorted(range(ITEMS), key=lambda i: (-scores[i], i)) if item not in given][:k]
    hits = [1.0 / math.log2(rank + 2) for rank, item in enumerate(ranked) if item in targets]
    ideal = sum(1.0 / math.log2(rank + 2) for rank in range(min(k, len(targets))))
    return sum(hits) / ideal, len(hits) / min(k, len(targets))


def test_metrics_are_those_of_the_plain_formula_and_do_not_depend_on_blocks(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = clustered_users(17, ITEMS, 4, targets=3)
    users[3]["item_ids"] = [-1, -1]  # nothing the model knows
    users[4]["target_ids"] = [-1, -1, 7]  # two targets that cannot be found, but count
    write_split(tmp_path, "validation", users, 2)
    heldout = read_heldout(str(tmp_path), "validation", ITEMS)
    found = evaluate(table, heldout, (3, 100))
    monkeypatch.setattr(validation, "_MOST_USERS", 4)
    assert evaluate(table, heldout, (3, 100)) == pytest.approx(found, abs=1e-12)
    for k in (3, 100):
        values = []
        for user in users:
            given = [item for item in user["item_ids"] if item >= 0]
            scores = table(tf.ragged.constant([given], dtype=tf.int64), {}).numpy()[0]
            values.append(slow(scores, given, user["target_ids"], k))
        ndcg, recall = np.mean(values, axis=0)
        assert found[f"ndcg@{k}"] == pytest.approx(ndcg)
        assert found[f"recall@{k}"] == pytest.approx(recall)


def test_given_items_are_never_ranked_even_where_all_other_scores_are_negative() -> None:
    """A mask of 0 instead of -inf would put them first."""
    scores = tf.constant([[-1.0, -9.0, -3.0, -2.0], [-1.0, -1.0, math.nan, -5.0]])
    given = tf.RaggedTensor.from_row_lengths(tf.constant([0, 3], tf.int64), tf.constant([2, 0], tf.int64))
    assert best_items(scores, given, tf.constant(5)).numpy().tolist() == [[2, 1, -1, -1, -1], [0, 1, 3, -1, -1]]


def test_unknown_targets_get_numbers_that_no_item_has() -> None:
    numbered = number_targets(Lists.of([[-1, 4, -1], [2, 0], [-1]]), 10)
    assert [numbered[user].tolist() for user in range(3)] == [[4, 10, 11], [0, 2], [10]]


def test_a_features_folder_without_held_out_users_has_nothing_to_evaluate(tmp_path: pathlib.Path) -> None:
    heldout = read_heldout(str(tmp_path), "validation", ITEMS)
    assert len(heldout) == 0
    assert evaluate(table, heldout) == {}


def test_side_columns_follow_their_items_into_a_block(tmp_path: pathlib.Path) -> None:
    users = [
        {"user_key": 1, "item_ids": [5, -1, 2], "side_topic": [1, 9, 2], "target_ids": [1]},
        {"user_key": 2, "item_ids": [], "side_topic": [], "target_ids": [1]},
        {"user_key": 3, "item_ids": [4], "side_topic": [3], "target_ids": [0]},
    ]
    write_split(tmp_path, "test", users)
    heldout: HeldOut = read_heldout(str(tmp_path), "test", ITEMS, ["topic"])
    given, sides = validation.given_of(heldout.part(0, 2))
    assert given.to_list() == [[5, 2], []]
    assert sides["topic"].to_list() == [[1, 2], []]
    assert validation.given_of(heldout.part(2, 3))[1]["topic"].to_list() == [[3]]
