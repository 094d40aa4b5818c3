"""The parts of --similarity=auto: the sample, the hold-out, NDCG, the candidates and the choice among them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.batch_cf.rules import HistoryRules
from pipelines.batch_cf.scoring import Measure
from pipelines.batch_cf.selection.candidates import EASE_ITEMS, MOST_NEIGHBORS, Candidate, candidates_for, groups_of
from pipelines.batch_cf.selection.choice import choose, flags_of
from pipelines.batch_cf.selection.holdout import hold_out, join_shards
from pipelines.batch_cf.selection.recommending import quality_of_users
from pipelines.batch_cf.selection.sample import keep_users, merge_sizes, share_of, size_of
from pipelines.batch_cf.selection.search import Search, differ
from pipelines.batch_cf.selection.validate import validate_group
from pipelines.batch_cf.similarities import Parameters
from transforms.histories.shards import UserShard, concatenate_blocks, merge_entries, partition
from transforms.ranking.lists import Lists

from . import oracle


def block_of(rows: list[tuple[str, str, int]], times: bool = True) -> pa.RecordBatch:
    columns = {
        "user_id": pa.array([user for user, _, _ in rows], pa.string()).dictionary_encode(),
        "item_id": pa.array([item for _, item, _ in rows], pa.string()).dictionary_encode(),
    }
    if times:
        columns["timestamp"] = pa.array([time for *_, time in rows], pa.int64())
    return pa.RecordBatch.from_pydict(columns)


def log(users: int, items: int, seed: int = 1) -> list[tuple[str, str, int]]:
    rng = np.random.default_rng(seed)
    drawn = zip(rng.integers(0, users, 12 * users), rng.beta(1, 3, 12 * users), strict=True)
    return [(f"u{user}", f"i{int(item * items)}", time) for time, (user, item) in enumerate(drawn)]


def shard_of(rows: list[tuple[str, str, int]], times: bool = True) -> UserShard:
    return merge_entries(concatenate_blocks([block_of(rows, times)]), None, "last")


def test_a_sample_is_whole_users_and_the_same_however_the_log_is_divided() -> None:
    rows = log(500, 40)
    whole, halves = [block_of(rows)], [block_of(rows[:1000]), block_of(rows[1000:])]
    size = merge_sizes(size_of(block, 1) for block in whole)
    share = share_of(size.rows, 3_000)
    assert share == share_of(merge_sizes(size_of(block, 1) for block in halves).rows, 3_000)
    kept = {user for block in whole for user in keep_users(block, share, 1)["user_id"].to_pylist()}
    assert kept == {user for block in halves for user in keep_users(block, share, 1)["user_id"].to_pylist()}
    sampled = sum(len(keep_users(block, share, 1)) for block in halves)
    assert sampled == sum(user in kept for user, _, _ in rows) <= 3_000
    assert share.share == pytest.approx(sampled / len(rows)) and 0.4 < share.share <= 0.5
    assert sorted(size.items.to_pylist()) == sorted({item for _, item, _ in rows})


def test_a_log_within_the_limit_is_taken_whole() -> None:
    assert share_of(size_of(block_of(log(50, 10)), 1).rows).share == 1.0


def test_the_newest_fifth_is_held_out_where_there_are_times_at_least_one_and_not_all() -> None:
    rows = [("a", f"i{n}", 100 - n) for n in range(10)] + [("b", "x", 1), ("b", "y", 2), ("alone", "x", 1)]
    sample = hold_out(shard_of(rows), 1)
    names = [sample.given.users[int(user)].as_py() for user in sample.users]
    held = {
        name: {sample.given.items[int(item)].as_py() for item in sample.held[place]} for place, name in enumerate(names)
    }
    assert held == {"a": {"i0", "i1"}, "b": {"y"}}
    assert len(sample.given.user_codes) == len(rows) - 3


def test_without_times_each_user_holds_out_other_items_and_popular_items_no_more_than_others() -> None:
    rows = [(f"u{user}", f"i{item}", 0) for user in range(2000) for item in range(10)]
    sample = hold_out(shard_of(rows, times=False), 1)
    assert sample.held.lengths().tolist() == [2] * 2000
    counts = np.bincount(sample.held.items, minlength=10)
    assert counts.min() > 340 and counts.max() < 460  # 400 expected, standard deviation 18
    assert len({tuple(sample.held[user].tolist()) for user in range(2000)}) == 45  # all pairs of 10 items


def test_the_hold_out_is_the_same_for_every_number_of_shards() -> None:
    rows = log(80, 30)
    one = hold_out(shard_of(rows), 1)
    parts = [
        merge_entries(concatenate_blocks([part]), None, "last") for _, part in sorted(partition(block_of(rows), 5, 1))
    ]
    five = hold_out(join_shards(parts), 1)

    def named(sample) -> set[tuple[str, str]]:
        return {
            (sample.given.users[int(sample.users[row])].as_py(), sample.given.items[int(item)].as_py())
            for row, item in zip(sample.held.rows(), sample.held.items, strict=True)
        }

    assert named(one) == named(five) and len(named(one)) > 80


@given(seed=st.integers(0, 10_000))
def test_ndcg_and_recall_equal_the_plain_computation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    items, users, top_k = 40, 7, 5
    rows = [np.sort(rng.choice(items, rng.integers(0, 9), replace=False)) for _ in range(items)]
    scores = [np.sort(rng.integers(-1, 4, len(row)) / 4)[::-1].astype(np.float32) for row in rows]
    histories = [rng.choice(items, 6, replace=False).tolist() for _ in range(users)]
    held = [sorted(rng.choice([-1, *range(items)], 5, replace=False).tolist()) for _ in range(users)]
    ndcg, recall = quality_of_users(
        Lists.of(histories), Lists.of(held), np.cumsum([0] + [len(row) for row in rows]).astype(np.int64),
        np.concatenate(rows).astype(np.uint32), np.concatenate(scores), top_k, 2,
    )  # fmt: skip
    for user in range(users):
        sums: dict[int, float] = {}
        for item in histories[user]:
            for neighbor, score in zip(rows[item][:top_k], scores[item][:top_k], strict=True):
                sums[int(neighbor)] = sums.get(int(neighbor), 0.0) + float(score)
        ranked = sorted((i for i in sums if sums[i] > 0 and i not in histories[user]), key=lambda i: (-sums[i], i))[:20]
        gained = sum(1 / math.log2(rank + 2) for rank, item in enumerate(ranked) if item in held[user])
        assert ndcg[user] == pytest.approx(gained / sum(1 / math.log2(rank + 2) for rank in range(5)))
        assert recall[user] == pytest.approx(len(set(ranked) & set(held[user])) / 5)


def test_a_candidate_is_scored_as_the_plain_neighbors_score() -> None:
    """Every group, EASE among them, against the oracle's lists of the given histories."""
    rows = log(60, 25)
    sample = hold_out(shard_of(rows), 1)
    of: dict[str, dict[str, float]] = {}
    names, users = sample.given.items.to_pylist(), sample.given.users.to_pylist()
    for user, item in zip(sample.given.user_codes, sample.given.item_codes, strict=True):
        of.setdefault(users[user], {})[names[item]] = 1.0
    candidates = candidates_for(25, (True,), {}, 6)
    scores = {
        place: score
        for places in groups_of(candidates)
        for place, score in zip(
            places,
            validate_group(
                sample, [candidates[place] for place in places], 1.0, HistoryRules(), pa.array([], pa.string()), 2
            ),
            strict=True,
        )
    }
    for place, candidate in enumerate(candidates):
        p = dataclasses.asdict(candidate.measure.parameters)
        if p["candidate_exponent"] is None:
            del p["candidate_exponent"]
        related = oracle.neighbors(of, candidate.measure.name, p, 6)
        total = 0.0
        for row, user in enumerate(sample.users):
            sums: dict[str, float] = {}
            for item in of[users[user]]:
                for neighbor in related[item]:
                    sums[neighbor.item] = sums.get(neighbor.item, 0.0) + float(np.float32(neighbor.score))
            allowed = [item for item in sums if sums[item] > 0 and item not in of[users[user]]]
            ranked = sorted(allowed, key=lambda item: (-np.float32(sums[item]), item))[:20]
            held = {names[item] for item in sample.held[row]}
            gained = sum(1 / math.log2(rank + 2) for rank, item in enumerate(ranked) if item in held)
            total += gained / sum(1 / math.log2(rank + 2) for rank in range(min(20, len(held))))
        assert scores[place] == pytest.approx(total / len(sample.users), abs=2e-3), flags_of(candidate)


def test_parameters_that_count_users_shrink_with_the_sample() -> None:
    sample = hold_out(shard_of(log(60, 25)), 1)
    nobody = pa.array([], pa.string())
    full = Candidate(Measure("asymmetric_cosine", Parameters(shrinkage=5.0)), True)
    whole = Candidate(Measure("asymmetric_cosine", Parameters(shrinkage=10.0)), True)
    assert validate_group(sample, [whole], 0.5, HistoryRules(), nobody, 1) == validate_group(
        sample, [full], 1.0, HistoryRules(), nobody, 1
    )


def test_the_earlier_candidate_wins_a_tie_of_rounded_scores() -> None:
    candidates = candidates_for(100, (True,), {}, None)[:3]
    assert choose(candidates, [0.09996, 0.10004, 0.10003], {}).candidate == candidates[0]
    assert choose(candidates, [0.10004, 0.10006, 0.1], {}).candidate == candidates[1]
    assert choose(candidates, [0.0, 0.0, 0.0], {}).candidate == candidates[0]


def test_candidates_stay_below_the_limit_of_neighbors_and_of_items_for_ease() -> None:
    many = candidates_for(900_000, (True,), {}, None)
    assert all(candidate.measure.top_k * 900_000 < MOST_NEIGHBORS for candidate in many)
    assert {candidate.measure.name for candidate in candidates_for(EASE_ITEMS + 1, (True,), {}, None)} == {
        "cosine", "asymmetric_cosine", "rp3beta", "degree_normalized",
    }  # fmt: skip
    some = candidates_for(EASE_ITEMS, (True,), {}, None)
    assert {each.measure.top_k for each in some if each.measure.name == "ease"} == {500}
    assert {each.measure.top_k for each in some if each.measure.name == "cosine"} == {100, 500}


def test_fixed_values_replace_those_of_every_candidate_that_takes_them_and_nothing_is_tried_twice() -> None:
    candidates = candidates_for(100, (True,), {"l2": 30.0, "locality": 1.0}, 7)
    ease = [candidate for candidate in candidates if candidate.measure.name == "ease"]
    assert [candidate.measure.parameters.l2 for candidate in ease] == [30.0]
    assert {candidate.measure.parameters.locality for candidate in candidates} == {1.0}
    assert {candidate.measure.top_k for candidate in candidates} == {7}
    assert len(set(candidates)) == len(candidates)


def test_weights_are_tried_where_they_differ_and_nothing_is_fixed() -> None:
    assert {candidate.weighted for candidate in Search().candidates(10, True)} == {False, True}
    assert {candidate.weighted for candidate in Search().candidates(10, False)} == {True}
    assert {candidate.weighted for candidate in Search(weighted=False).candidates(10, True)} == {False}
    assert not differ(None) and not differ(np.array([2.0, 2.0])) and differ(np.array([1.0, 2.0]))


def test_candidates_that_weigh_alike_share_a_group() -> None:
    candidates = candidates_for(100, (False, True), {}, None)
    groups = groups_of(candidates)
    assert sorted(place for group in groups for place in group) == list(range(len(candidates)))
    for group in groups:
        assert len({(candidates[at].weighted, candidates[at].measure.user_exponent) for at in group}) == 1
    assert len(groups) == 2 * 4  # no user exponent, .7, .85 and 1
