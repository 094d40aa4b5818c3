"""Who validates, who tests, and what of a held-out user is shown, against the plain rules; somebody validates."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.vae_train.config import FeatureRules, SplitRule
from pipelines.vae_train.features.histories import Histories, merge_histories
from pipelines.vae_train.features.splitting import (
    SPLITS,
    TRAIN,
    VALIDATION,
    Summary,
    choose_given,
    divide_users,
    merge_summaries,
    plan_division,
    summarise,
)
from transforms.hashing import siphash

from . import features_oracle as oracle

ITEMS = [f"c{number}" for number in range(30)]


def histories_of(rows: list[oracle.Row], columns: str = "wt") -> Histories:
    return merge_histories([oracle.block_of(rows, columns)], FeatureRules())


def splits(found: Histories, rule: SplitRule, analyze_all: bool = False) -> dict[str, str]:
    division = plan_division(summarise(found, rule), rule, analyze_all)
    names = [SPLITS[split] for split in divide_users(found, rule, division)]
    return dict(zip(found.users.to_pylist(), names, strict=True))


@pytest.mark.parametrize("analyze_all", [False, True])
@pytest.mark.parametrize(
    "rule",
    [
        SplitRule("user"),
        SplitRule("time", validation_fraction=0.3, test_fraction=0.2, seed=7),
        SplitRule("user", validation_fraction=1e-9),
        SplitRule("user", validation_fraction=0.5, test_fraction=0.5),
        SplitRule("user", validation_fraction=0.99),
    ],
)
def test_users_are_divided_by_their_place(rule: SplitRule, analyze_all: bool) -> None:
    rows = oracle.make_rows(4, 300, ITEMS, 1500)
    found = splits(histories_of(rows), rule, analyze_all)
    assert found == oracle.split_of(oracle.histories(rows), rule, analyze_all)
    assert ("validation" in found.values()) != analyze_all


@pytest.mark.parametrize(
    ("users", "expected"), [(100, 0.2), (2_500, 0.2), (5_000, 0.1134), (20_000, 0.05), (1_000_000, 0.0097)]
)
def test_the_default_fraction_is_a_twentieth_within_its_limits(users: int, expected: float) -> None:
    division = plan_division(Summary(users=users), SplitRule("user"), analyze_all=False)
    assert division.validation_below / 2**64 == pytest.approx(expected)


@pytest.mark.parametrize("users", [2_835, 6_000, 30_000, 300_000])
def test_by_default_at_least_500_users_validate_and_at_most_10_000(users: int) -> None:
    places = np.random.default_rng(users).integers(0, 2**64, (50, users), dtype=np.uint64)
    below = plan_division(Summary(users=users), SplitRule("user"), analyze_all=False).validation_below
    counts = (places < np.uint64(below)).sum(axis=1)
    assert counts.min() >= 500 and counts.max() <= 10_000


def test_of_what_evaluate_split_leaves_to_train_as_many_validate_as_of_the_whole_log() -> None:
    """Both divide users by the same hash and, by default, the same seed: they must not take the same end of it."""
    users = pa.array([f"u{number}" for number in range(20_000)])
    left = siphash(users, 1).astype(np.float64) >= 0.1 * 2.0**64  # as pipelines.evaluate.splitting holds out a tenth
    rows = [(user, item, 1.0, 1) for user in users.filter(pa.array(left)).to_pylist() for item in ("x", "y")]
    validate = list(splits(histories_of(rows), SplitRule("user", validation_fraction=0.05)).values())
    assert validate.count("validation") == pytest.approx(0.05 * left.sum(), rel=0.15)


def test_two_users_are_one_to_train_and_one_to_validate_whatever_their_names() -> None:
    for number in range(60):
        rows = [(f"{name}{number}", item, 1.0, 1) for name in "ab" for item in ("x", "y")]
        assert sorted(splits(histories_of(rows), SplitRule("user")).values()) == ["train", "validation"]


def test_files_grow_with_the_users_and_an_unused_split_has_none() -> None:
    rule = SplitRule("user", validation_fraction=0.5)
    assert plan_division(Summary(users=120_000), rule, False).files == (3, 2, 0)
    assert plan_division(Summary(users=120_000), rule, True).files == (3, 0, 0)
    assert plan_division(Summary(users=1), SplitRule("user", test_fraction=0.1), False).files == (1, 1, 1)


@pytest.mark.parametrize("by", ["user", "time"])
@pytest.mark.parametrize("fold_in", [0.0, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("columns", ["t", ""])
def test_a_held_out_user_shows_the_oldest_or_those_of_smallest_hash(by: str, fold_in: float, columns: str) -> None:
    rule = SplitRule(by, fold_in=fold_in, seed=3)  # type: ignore[arg-type]
    rows = oracle.make_rows(5, 60, ITEMS, 700)
    found = histories_of(rows, columns)
    shown = choose_given(found, rule)
    items = np.array(found.items.to_pylist())[found.codes]
    expected = oracle.histories(rows, columns)
    for user, begin, end in zip(found.users.to_pylist(), found.indptr[:-1], found.indptr[1:], strict=True):
        part = slice(begin, end)
        assert set(items[part][shown[part]]) == oracle.given_of(user, expected[user], rule)
        if end - begin >= 2:
            assert 0 < shown[part].sum() < end - begin


@settings(max_examples=30)
@given(
    parts=st.lists(
        st.builds(
            Summary,
            users=st.integers(0, 9),
            zero_weight=st.integers(0, 9),
            first_place=st.none() | st.integers(0, 2**64 - 1),
            last_place=st.none() | st.integers(0, 2**64 - 1),
            oldest_us=st.none() | st.integers(-9, 9),
            newest_us=st.none() | st.integers(-9, 9),
            has_weight=st.booleans(),
        ),
        max_size=4,
    )
)
def test_summaries_merge_in_any_order_and_grouping(parts: list[Summary]) -> None:
    whole = merge_summaries(parts)
    for order in itertools.permutations(parts):
        half = len(order) // 2
        assert merge_summaries([merge_summaries(order[:half]), merge_summaries(order[half:])]) == whole


def test_the_division_of_a_shard_does_not_depend_on_its_neighbors() -> None:
    rows = oracle.make_rows(6, 80, ITEMS, 500)
    rule = SplitRule("user", validation_fraction=0.2, test_fraction=0.1)
    whole = histories_of(rows)
    division = plan_division(summarise(whole, rule), rule, False)
    alone = histories_of([row for row in rows if row[0] == "u7"])
    place = whole.users.to_pylist().index("u7")
    assert divide_users(alone, rule, division)[0] == divide_users(whole, rule, division)[place]
    assert {TRAIN, VALIDATION} <= set(divide_users(whole, rule, division).tolist())
