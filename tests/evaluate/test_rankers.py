"""Every ranker against the plain computation, and one contract that all of them keep."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluate import baselines
from pipelines.evaluate.dataset import Counts, Dataset
from pipelines.evaluate.rankers import Ranker, ServedRanker, without
from transforms.ranking.ease import ease_weights
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
        "rp3beta": baselines.rp3beta(data, baselines.Walk(0.9, 0.4)),
        "ease": baselines.ease(data, 10.0),
        "served": served(data),
    }


@pytest.mark.parametrize("name", ["popularity", "cooccurrence", "cosine", "rp3beta", "ease", "served"])
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


@pytest.mark.parametrize("name", ["popularity", "cooccurrence", "cosine", "rp3beta", "ease", "served"])
def test_without_a_known_item_the_list_is_popularity(name: str) -> None:
    data = dataset()
    ranked, _ = all_rankers(data)[name].rank(data.histories, 6)
    for user in (0, 1):
        assert filled(ranked[user]) == popular(data, data.histories[user].tolist(), 6)


@pytest.mark.parametrize("name", ["popularity", "cooccurrence", "cosine", "rp3beta", "ease", "served"])
def test_a_user_ranks_alike_alone_and_in_company(name: str) -> None:
    data = dataset()
    ranker = all_rankers(data)[name]
    together, _ = ranker.rank(data.histories, 6)
    alone = [ranker.rank(data.histories.part(user, user + 1), 6)[0][0] for user in range(len(data.histories))]
    assert np.array_equal(together, np.stack(alone))


@pytest.mark.parametrize("name", ["popularity", "cooccurrence", "rp3beta", "ease", "served"])
def test_a_list_without_places_is_an_error(name: str) -> None:
    data = dataset()
    for k in (0, -1):
        with pytest.raises(ValueError, match=rf"^k is {k}; pass a whole number from 1$"):
            all_rankers(data)[name].rank(data.histories, k)


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


@given(seed=st.integers(0, 50), k=st.integers(1, 14), alpha=st.sampled_from([0.0, 0.7, 1.0, 1.6]))
def test_walk_neighbors_equal_the_dense_formula(seed: int, k: int, alpha: float) -> None:
    """P_iu = 1 / n_i, P_uj = 1 / n_u, each to the power alpha, over n_j^beta."""
    train = dataset(seed).train
    dense = train.toarray()
    users, lengths = np.maximum(dense.sum(axis=0), 1), np.maximum(dense.sum(axis=1), 1)
    betas = [0.0, 0.6, 1.3]
    for beta, table in zip(betas, baselines.walk_neighbors(train, k, alpha, betas), strict=True):
        forth, back = (dense.T / users[:, None]) ** alpha, (dense / lengths[:, None]) ** alpha
        walks = np.where(dense.T[:, :, None] * dense[None], forth[:, :, None] * back[None], 0).sum(axis=1)
        score = walks / users[None, :] ** beta
        np.fill_diagonal(score, 0)
        for item, row in enumerate(table.toarray()):
            found = np.flatnonzero(row)
            assert row[found] == pytest.approx(score[item][found])
            assert len(found) == min(k, np.count_nonzero(score[item]))
            left_out = np.delete(score[item], found)
            assert not len(found) or left_out.max(initial=0) <= row[found].min() * (1 + 1e-9)


def test_a_walk_by_hand() -> None:
    """Users {a, b}, {a, b, c}, {a}; alpha 1, beta 1: a to b (1/2 + 1/3) / (3 * 2), a to c (1/3) / (3 * 1)."""
    train = sp.csr_array(np.array([[1.0, 1, 0], [1, 1, 1], [1, 0, 0]]))
    [table] = baselines.walk_neighbors(train, 2, 1.0, [1.0])
    assert table.toarray()[0] == pytest.approx([0, 5 / 36, 1 / 9])


def test_the_walk_without_exponents_is_cooccurrence() -> None:
    train = dataset().train
    [table] = baselines.walk_neighbors(train, 5, 0.0, [0.0])
    assert (table != baselines.nearest(train, 5)["cooccurrence"]).nnz == 0


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


def test_tuning_the_walk_picks_the_best_and_does_not_look_at_the_holdout() -> None:
    """Even users have the items 0 to 5, odd ones 6 to 11, and everybody likely 12: popular, and no sign of either."""
    rng = np.random.default_rng(3)
    users = 400
    dense = np.zeros((users, len(ITEMS)))
    for user in range(users):
        first = 6 * int(rng.integers(2))
        dense[user, first + rng.permutation(6)[:5]] = 1
        dense[user, 12] = rng.random() < 0.5
    data = dataclasses.replace(dataset(), train=sp.csr_array(dense))
    bad, good = baselines.Walk(1.0, -3.0), baselines.Walk(1.0, 0.6)
    assert baselines.tuned_walk(data, [bad, good]) == good
    elsewhere = Dataset(
        data.items, data.users, data.train, data.histories.part(0, 1), data.targets.part(0, 1), data.counts
    )
    assert baselines.tuned_walk(elsewhere, [bad, good]) == good


def test_nobody_to_tune_on_leaves_the_defaults() -> None:
    data = dataset()
    data = dataclasses.replace(data, train=sp.csr_array(np.eye(20, len(ITEMS))))
    assert baselines.tuned_walk(data) == baselines.Walk()
    assert baselines.tuned_lambda(data, [3.0, 5.0]) == 3.0
