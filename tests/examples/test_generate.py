"""The made-up course platform: equal bytes for a seed, and a structure that a recommender can find."""

from __future__ import annotations

import csv
import hashlib
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp

from examples.course_platform import generate
from examples.course_platform.catalogue import AREAS, TOPICS, titles


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("platform")
    assert generate.main([f"--output={directory}", "--users=3000"]) == 0
    return directory


def log(directory: pathlib.Path) -> pa.Table:
    return pq.read_table(directory / "interactions")


def digests(directory: pathlib.Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_there_are_1500_courses_with_distinct_titles() -> None:
    names = [title for topic in TOPICS for title, _, _ in titles(topic)]
    assert len(names) == len(set(names)) == 1500
    assert all(not name[0].islower() and "{" not in name for name in names)


def test_every_area_teaches_its_levels_in_ascending_order() -> None:
    for area in AREAS.values():
        levels = [level for _, level in area.patterns]
        assert levels == sorted(levels)
        assert len(levels) == generate.COURSES_PER_SUBJECT


def test_equal_seeds_give_equal_bytes_and_other_seeds_others(tmp_path: pathlib.Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate.write(tmp_path / name, seed=seed, users=200)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert not set(digests(tmp_path / "a").values()) & set(digests(tmp_path / "c").values())


def test_the_log_has_the_standard_columns_in_the_order_of_time(platform: pathlib.Path) -> None:
    rows = log(platform)
    assert rows.column_names == ["user_id", "item_id", "weight", "timestamp"]
    seconds, weights = rows["timestamp"].to_numpy(), rows["weight"].to_numpy()
    assert (np.diff(seconds) >= 0).all()
    assert seconds[0] >= 1_704_067_200  # 2024-01-01
    assert seconds[-1] < 1_767_225_600  # 2026-01-01
    assert ((weights > 0) & (weights <= 1)).all()
    assert len(set(rows["user_id"].to_pylist())) == 3000
    assert 20 < len(rows) / 3000 < 40


def test_every_item_of_the_log_is_in_the_catalogue(platform: pathlib.Path) -> None:
    with (platform / "items.csv").open(encoding="utf-8", newline="") as file:
        items = list(csv.DictReader(file))
    assert list(items[0]) == ["item_id", "title", "author", "topic", "level", "available"]
    assert len({row["item_id"] for row in items}) == 1500
    assert {row["available"] for row in items} == {"true", "false"}
    assert set(log(platform)["item_id"].to_pylist()) <= {row["item_id"] for row in items}


def test_topics_have_a_season(platform: pathlib.Path) -> None:
    """Physics peaks in October, Cooking in December: both get a larger share from September on than in spring."""
    rows = log(platform)
    topic = np.array([int(item[1:]) // 50 for item in rows["item_id"].to_pylist()])
    month = (rows["timestamp"].to_numpy().astype("datetime64[s]").astype("datetime64[M]").astype(int)) % 12 + 1
    names = [t.name for t in TOPICS]
    for name in ("Physics", "Cooking"):
        mine = topic == names.index(name)
        winter, summer = mine[month >= 9].mean(), mine[(month >= 3) & (month <= 7)].mean()
        assert winter > 1.2 * summer, name


def test_co_occurrence_recommends_far_better_than_popularity(platform: pathlib.Path) -> None:
    """300 users held out, the last fifth of their courses asked for: cosine finds over twice popularity's recall@20."""
    rows = log(platform)
    users = np.array([int(user[1:]) for user in rows["user_id"].to_pylist()])
    items = np.array([int(item[1:]) for item in rows["item_id"].to_pylist()])
    fit = users >= 300
    train = sp.csr_array((np.ones(fit.sum()), (users[fit], items[fit])), shape=(3000, 1500))
    train.data[:] = 1
    count = train.sum(axis=0)
    cosine = (train.T @ train).toarray() / np.sqrt(np.outer(count, count) + 1e-9)
    np.fill_diagonal(cosine, 0)
    recall: dict[str, list[float]] = {"popularity": [], "cosine": []}
    for user in range(300):
        history = items[users == user]
        given, later = history[: len(history) * 4 // 5], set(history[len(history) * 4 // 5 :])
        later -= set(given)
        if not later:
            continue
        for name, scores in (("popularity", count.copy()), ("cosine", cosine[given].sum(axis=0))):
            scores[given] = -1
            best = np.argsort(-scores, kind="stable")[:20]
            recall[name].append(len(later.intersection(best.tolist())) / min(20, len(later)))
    assert np.mean(recall["cosine"]) > 2 * np.mean(recall["popularity"])


def test_an_interrupted_folder_is_not_complete(tmp_path: pathlib.Path) -> None:
    generate.write(tmp_path, seed=1, users=50)
    assert generate.is_complete(tmp_path, seed=1, users=50)
    assert not generate.is_complete(tmp_path, seed=1, users=51)
    (tmp_path / "generated.json").unlink()
    assert not generate.is_complete(tmp_path, seed=1, users=50)
