"""Popularity: read and checked at construction, and no item of the user in what it gives."""

from __future__ import annotations

import json
import pathlib
import tempfile

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_client.errors import InvalidRequest
from serving_client.popularity import Popularity, PopularityError
from transforms.models import assets


def popularity(count=5):
    return Popularity([f"c{number:02d}" for number in range(count)], [float(count - number) for number in range(count)])


@given(
    items=st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1),
    history=st.lists(st.sampled_from("abcdefghxyz")),
    exclude=st.lists(st.sampled_from("abcdefghxyz")),
    k=st.none() | st.integers(1, 10),
)
def test_the_first_k_of_the_ranking_that_are_not_the_users(items, history, exclude, k):
    answer = Popularity(items, [float(-place) for place in range(len(items))]).recommend(history, exclude=exclude, k=k)
    left = [(place, item) for place, item in enumerate(items) if item not in history and item not in exclude][:k]
    assert answer.items == [item for _, item in left]
    assert answer.scores.dtype == np.float32
    assert answer.scores.tolist() == [-place for place, _ in left]
    assert (answer.rung, answer.version, answer.attempts) == ("popularity", None, 0)


def test_without_k_it_gives_as_many_as_a_model_does():
    assert len(popularity(150).recommend().items) == 100


def test_a_history_longer_than_what_models_are_sent_counts_in_full():
    ranking = popularity(300)
    assert ranking.recommend([f"c{number:02d}" for number in range(299)]).items == ["c299"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"history": "prod-001"}, r"history is one str, not a list of ids; write \['prod-001'\]"),
        ({"history": [5]}, r"history\[0\] is int 5, not text"),
        ({"exclude": "c01"}, "exclude is one str"),
        ({"k": 0}, "k is 0; pass a whole number from 1"),
        ({"k": True}, "k is True; pass a whole number from 1"),
        ({"k": 2.0}, r"k is 2\.0; pass a whole number from 1"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused_as_the_client_does(arguments, says):
    with pytest.raises(InvalidRequest, match=says):
        popularity().recommend(**arguments)


def test_an_answer_may_be_changed_without_changing_the_next(tmp_path):
    ranking = popularity()
    answer = ranking.recommend()
    answer.items.clear()
    answer.scores[:] = 0.0
    assert ranking.recommend(k=2).items == ["c00", "c01"]
    assert ranking.recommend(k=2).scores.tolist() == [5.0, 4.0]


def test_it_reads_what_the_trainers_write(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "write_warmup_requests", lambda *_: None)  # needs TensorFlow, and is not read here
    ids = pa.array(["a", "b", "ü \u2028"])
    assets.write_extras(tmp_path, [], ids, np.array([3, 9, 5]), np.array([True, True, True]), {})
    path = tmp_path / "assets.extra" / "popularity.json"
    answer = Popularity.from_file(path).recommend(["a"])
    assert (answer.items, answer.scores.tolist(), answer.target) == (["b", "ü \u2028"], [9.0, 5.0], str(path))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "is not valid JSON"),
        (b'{"items": ["a"], "sco', "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[" * 200_000, "is not valid JSON"),
        (b"[]", 'is not an object with "items" and "scores"'),
        (b'{"items": ["a"]}', 'is not an object with "items" and "scores"'),
        (b'{"items": "a", "scores": [1]}', "must be lists"),
        (b'{"items": {"a": 1}, "scores": [1]}', "must be lists"),
        (b'{"items": [], "scores": []}', "has no items"),
        (b'{"items": ["a", "b"], "scores": [1]}', "2 items and 1 scores"),
        (b'{"items": ["a", 7], "scores": [2, 1]}', "item 1 is 7"),
        (b'{"items": ["a", ""], "scores": [2, 1]}', "item 1 is ''"),
        (b'{"items": ["a", "a"], "scores": [2, 1]}', "item 1, 'a', is listed twice"),
        (b'{"items": ["a"], "scores": [NaN]}', "is not a finite float32"),
        (b'{"items": ["a"], "scores": [-Infinity]}', "is not a finite float32"),
        (b'{"items": ["a"], "scores": [1e39]}', "is not a finite float32"),
        (b'{"items": ["a"], "scores": [' + b"9" * 400 + b"]}", "is not a finite float32"),
        (b'{"items": ["a"], "scores": [true]}', "is not a finite float32"),
        (b'{"items": ["a"], "scores": ["1"]}', "is not a finite float32"),
        (b'{"items": ["a", "b"], "scores": [1, 2]}', "put the most popular item first"),
    ],
)
def test_a_file_that_is_no_ranking_is_refused_at_construction_and_named(content, says, tmp_path):
    path = tmp_path / "popularity.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PopularityError) as caught:
        Popularity.from_file(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_in_place_of_the_file_is_named(tmp_path):
    with pytest.raises(PopularityError, match="Is a directory"):
        Popularity.from_file(tmp_path)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=3), st.lists, max_leaves=6))
def test_whatever_json_is_in_the_file_the_error_is_typed(value):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "popularity.json"
        path.write_text(json.dumps({"items": value, "scores": value}))
        with pytest.raises(PopularityError):
            Popularity.from_file(path)
