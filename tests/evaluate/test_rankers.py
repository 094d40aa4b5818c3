"""Every ranker against the plain computation, and one contract that all of them keep."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluate import baselines
from pipelines.evaluate.dataset import Counts, Dataset
from pipelines.evaluate.rankers import Ranker, ServedRanker, without
from transforms.ease import ease_weights
from transforms.ranking.lists import EMPTY, FOREIGN, Lists

ITEMS = [f"i{n:02d}" for n in range(14)]


def dataset(seed: int = 0, users: int = 40) -> Dataset:
    """Random train rows over items 0..11; items 12 and 13 are unknown to train."""
    rng = np.random.default_rng(seed)
    dense = (rng.random((users, len(ITEMS))) < np.linspace(0.5, 0.1, len(ITEMS))).astype(float)
    dense[:, 12:] = 0
    histories = [[], [13], [0], [3, 1, 12], [5, 2, 7, 0], list(range(12))]
    lists = Lists.of(histories)
    counts = Counts("per_user", *[0] * 11)
    names = pa.array([f"u{n}" for n in range(len(histories))])
    return Dataset(pa.array(ITEMS), names, sp.csr_array(dense), lists, lists, counts)


def popular(data: Dataset, history: list[int], k: int) -> list[int]:
    users = data.item_users()
    ranked = sorted((i for i in range(len(ITEMS)) if users[i]), key=lambda i: (-users[i], i))
    return [i for i in ranked if i not in history][:k]


def filled(row: np.ndarray) -> list[int]:
    return [int(item) for item in row if item != EMPTY]


def served(data: Dataset) -> ServedRanker:
    def signature(histories: np.ndarray) -> np.ndarray:
        ranking = popular(data, [], len(ITEMS))
        rows = []
        for history in histories:
            row = [ITEMS[i].encode() for i in ranking if ITEMS[i].encode() not in set(history)]
            rows.append(row + [b""] * (len(ITEMS) - len(row)))
        return np.array(rows, object)

    return ServedRanker(signature, data.items, batch=4)


def all_rankers(data: Dataset) -> dict[str, Ranker]:
    found: dict[str, Ranker] = dict(baselines.neighbor_baselines(data))
    return found | {
        "popularity": baselines.popularity(data),
        "ease": baselines.ease(data, 10.0),
        "served": served(data),
    }


@pytest.mark.parametrize("name", ["popularity", "cooccurrence", "cosine", "ease", "served"])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_lists_hold_no_history_no_repeats_and_no_items_of_nowhere(name: str, k: int) -> None:
    data = dataset()
    ranked, removed = all_rankers(data)[name].rank(data.histories, k)
    assert ranked.shape == (len(data.histories), k) and ranked.dtype == np.int32 and removed == 0
    for user, row in enumerate(ranked):
        found = filled(row)
        assert row.tolist() == found + [EMPTY] * (k - len(found))
        assert len(set(found)) == len(found)
        assert not set(found) & set(data.histories[user].tolist())
        assert all(data.item_users()[item] > 0 for item in found)


@pytest.mark.parametrize("name", ["popularity", "cooccurrence", "cosine", "ease", "served"])
def test_without_a_known_item_the_list_is_popularity(name: str) -> None:
    data = dataset()
    ranked, _ = all_rankers(data)[name].rank(data.histories, 6)
    for user in (0, 1):
        assert filled(ranked[user]) == popular(data, data.histories[user].tolist(), 6)


@pytest.mark.parametrize("name", ["popularity", "cooccurrence", "cosine", "ease", "served"])
def test_a_user_ranks_alike_alone_and_in_company(name: str) -> None:
    data = dataset()
    ranker = all_rankers(data)[name]
    together, _ = ranker.rank(data.histories, 6)
    alone = [ranker.rank(data.histories.part(user, user + 1), 6)[0][0] for user in range(len(data.histories))]
    assert np.array_equal(together, np.stack(alone))


@given(seed=st.integers(0, 50), k=st.integers(1, 14))
def test_nearest_equals_the_dense_formula(seed: int, k: int) -> None:
    train = dataset(seed).train
    dense = train.toarray()
    counts = dense.T @ dense
    users = dense.sum(axis=0)
    for name, table in baselines.nearest(train, k).items():
        for item in range(len(ITEMS)):
            others = [j for j in range(len(ITEMS)) if j != item and counts[item, j] > 0]
            score = {
                j: counts[item, j] if name == "cooccurrence" else counts[item, j] / np.sqrt(users[item] * users[j])
                for j in others
            }
            best = sorted(others, key=lambda j: (-score[j], j))[:k]
            row = table[[item]].toarray()[0]
            assert np.flatnonzero(row).tolist() == sorted(best)
            assert row[sorted(best)].tolist() == [score[j] for j in sorted(best)]


@pytest.mark.parametrize("name", ["cooccurrence", "cosine"])
def test_a_neighbor_model_ranks_by_the_sum_over_the_history(name: str) -> None:
    data = dataset()
    table = baselines.nearest(data.train, 100)[name].toarray()
    ranked, _ = baselines.neighbor_baselines(data)[name].rank(data.histories, 8)
    for user in range(2, len(data.histories)):
        history = data.histories[user].tolist()
        score = table[history].sum(axis=0)
        found = filled(ranked[user])
        assert score[found].tolist() == pytest.approx(sorted(np.delete(score, history), reverse=True)[: len(found)])


def test_ease_weights_equal_the_closed_form() -> None:
    train = dataset(users=60).train[:, :12]
    dense = train.toarray()
    inverse = np.linalg.inv(dense.T @ dense + 7.0 * np.eye(12))
    expected = -inverse / np.diag(inverse)[None, :]
    np.fill_diagonal(expected, 0)
    assert ease_weights(train, 7.0) == pytest.approx(expected, abs=1e-6)


def test_tuning_picks_a_strength_from_the_list_and_does_not_look_at_the_holdout() -> None:
    data = dataset(users=200)
    chosen = baselines.tuned_lambda(data, [1.0, 50.0, 1e6])
    assert chosen in (1.0, 50.0, 1e6)
    elsewhere = Dataset(
        data.items, data.users, data.train, data.histories.part(0, 1), data.targets.part(0, 1), data.counts
    )
    assert baselines.tuned_lambda(elsewhere, [1.0, 50.0, 1e6]) == chosen


def test_a_served_model_that_gives_history_items_loses_those_places() -> None:
    ranked = np.array([[3, 1, 3, FOREIGN, FOREIGN, 2], [EMPTY] * 6], np.int32)
    cleaned, removed = without(ranked, Lists.of([[1], [2]]))
    assert cleaned.tolist() == [[3, FOREIGN, FOREIGN, 2, EMPTY, EMPTY], [EMPTY] * 6]
    assert removed == 2
