"""The pipeline as a whole against the plain computation, its promise of sameness, and what it says of unusable logs."""

from __future__ import annotations

import functools
import json
import pathlib
import random
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from pipelines.vae_train.config import FeatureRules, SplitRule
from pipelines.vae_train.features.items import ItemCounts, merge_counts, read_vocabulary
from pipelines.vae_train.steps.divide_users import DivideUsers, MergeCountsFn
from pipelines.vae_train.steps.group_histories import GroupHistories
from transforms.runs.command_line import pipeline_for

from . import features_oracle as oracle

ITEMS = [*oracle.ODD_IDS, *(f"c{number}" for number in range(40))]
RULES = FeatureRules(min_item_users=3, max_items=35, min_user_items=2)
SPLIT = SplitRule("time", validation_fraction=0.2, test_fraction=0.15, seed=5)


@pytest.fixture(scope="module")
def rows() -> list[oracle.Row]:
    few = [("single", "c1", 1.0, 1), ("strange", "seen by nobody else", 1.0, 1), ("strange", "nor this", 1.0, 2)]
    return oracle.make_rows(11, 120, ITEMS, 1_200) + few


@pytest.fixture(scope="module")
def written(rows: list[oracle.Row], tmp_path_factory: pytest.TempPathFactory) -> oracle.Written:
    return oracle.run(tmp_path_factory.mktemp("log"), rows, RULES, SPLIT, unavailable=["c3", "#", "not there"])


def expected(
    rows: list[oracle.Row], rules: FeatureRules, split: SplitRule, columns: str = "wt", analyze_all: bool = False
) -> tuple[list[tuple[str, int]], dict, dict[str, list[oracle.Entry]], dict[str, str]]:
    users = oracle.histories(rows, columns, rules.seed)
    users = {user: history for user, history in users.items() if len(history) >= rules.min_user_items}
    splits = oracle.split_of(users, split, analyze_all)
    vocabulary = oracle.vocabulary(users, splits, rules)
    index = {item: place for place, (item, _) in enumerate(vocabulary)}
    return vocabulary, oracle.examples(users, splits, index, split, rules.seed), users, splits


def test_vocabulary_and_examples_are_those_of_the_plain_computation(
    rows: list[oracle.Row], written: oracle.Written
) -> None:
    vocabulary, examples, _, _ = expected(rows, RULES, SPLIT)
    assert written.vocabulary == vocabulary
    assert written.examples == examples
    assert all(examples.values()), "every split has users"


def test_facts_count_what_became_of_users_and_items(rows: list[oracle.Row], written: oracle.Written) -> None:
    vocabulary, examples, users, splits = expected(rows, RULES, SPLIT)
    counted = oracle.vocabulary(users, splits, FeatureRules())
    enough = [item for item, count in counted if count >= RULES.min_item_users]
    kept = {(user, item) for user, history in users.items() for item, _ in history}
    times = [max(time for *at, _, time in rows if tuple(at) == pair) for pair in kept]
    facts = dict(written.facts)
    assert len(facts.pop("new_reports")) == 1
    assert facts == {
        "as_of_us": None,
        "faults": [],
        "users": len(users),
        "train_users": len(examples["train"]),
        "validation_users": len(examples["validation"]),
        "test_users": len(examples["test"]),
        "interactions": sum(map(len, users.values())),
        "items": len(vocabulary),
        "items_below_minimum": len(counted) - len(enough),
        "items_past_maximum": len(enough) - len(vocabulary),
        "users_without_known_items": list(splits.values()).count("train") - len(examples["train"]),
        "users_too_short_to_hold_out": 0,
        "zero_weight": oracle.zero_weights(rows),
        "has_weight": True,
        "has_timestamps": True,
        "oldest_timestamp_us": min(times),
        "newest_timestamp_us": max(times),
    }
    assert facts["items_past_maximum"] > 0
    assert facts["items_below_minimum"] > 0


def test_unavailable_items_are_marked(written: oracle.Written) -> None:
    items = read_vocabulary(str(written.folder))
    marked = [item for item, available in zip(items.ids.to_pylist(), items.available, strict=True) if not available]
    assert sorted(marked) == ["#", "c3"]


def test_order_repetition_files_and_shards_do_not_matter(
    rows: list[oracle.Row], written: oracle.Written, tmp_path: pathlib.Path
) -> None:
    rng = random.Random(3)
    again = rows + rng.sample(rows, 200)
    rng.shuffle(again)
    found = oracle.run(tmp_path, again, RULES, SPLIT, files=3, user_shards=4)
    assert found.vocabulary == written.vocabulary
    assert found.examples == written.examples
    own = {"new_reports"}
    assert {k: v for k, v in found.facts.items() if k not in own} == {
        k: v for k, v in written.facts.items() if k not in own
    }


def test_a_refit_trains_on_validation_users_and_never_on_test_users(
    rows: list[oracle.Row], tmp_path: pathlib.Path
) -> None:
    found = oracle.run(tmp_path, rows, RULES, SPLIT, columns="", analyze_all=True)
    vocabulary, examples, _, _ = expected(rows, RULES, SPLIT, "", analyze_all=True)
    assert found.vocabulary == vocabulary
    assert found.examples == examples
    assert found.examples["validation"] == {}
    _, without_refit, _, _ = expected(rows, RULES, SPLIT, "")
    assert found.examples["test"].keys() == without_refit["test"].keys()
    assert not list((found.folder / "examples").glob("validation-*"))
    assert found.facts["has_timestamps"] is False
    assert found.facts["newest_timestamp_us"] is None


def test_without_times_a_seeded_hash_orders_and_divides(rows: list[oracle.Row], tmp_path: pathlib.Path) -> None:
    rules, split = FeatureRules(seed=8), SplitRule("user", test_fraction=0.1, seed=2)
    found = oracle.run(tmp_path, rows, rules, split, columns="w", user_shards=3)
    vocabulary, examples, users, splits = expected(rows, rules, split, "w")
    assert found.vocabulary == vocabulary
    assert found.examples == examples
    too_short = sum(splits[user] != "train" and len(history) < 2 for user, history in users.items())
    assert found.facts["users_too_short_to_hold_out"] == too_short


@pytest.mark.needs("prism")
def test_prism_makes_the_same(rows: list[oracle.Row], written: oracle.Written, tmp_path: pathlib.Path) -> None:
    root = pipeline_for(PipelineOptions(["--runner=PrismRunner"]))
    found = oracle.run(tmp_path, rows, RULES, SPLIT, files=2, user_shards=2, root=root)
    assert found.vocabulary == written.vocabulary
    assert found.examples == written.examples


def faults(folder: pathlib.Path) -> list[str]:
    found: list[str] = json.loads((folder / "out" / "facts.json").read_text())["faults"]
    return found


def test_a_vocabulary_without_items_is_a_fault_not_a_random_token(tmp_path: pathlib.Path) -> None:
    rows = [(f"u{user}", f"c{user}{item}", 1.0, item) for user in range(6) for item in range(3)]
    found = oracle.run(tmp_path, rows, FeatureRules(min_item_users=2))
    assert faults(tmp_path) == [
        "no item has --min_item_users=2 training users, the most frequent has 1; lower it",
    ]
    assert found.facts["items"] == 0
    assert found.facts["train_users"] == 0


def test_no_interaction_left_is_a_fault(tmp_path: pathlib.Path) -> None:
    oracle.run(tmp_path, [("a", "x", 1.0, 1), ("b", "x", 1.0, 1)], FeatureRules(min_user_items=2))
    assert faults(tmp_path)[0].startswith("no interaction is left")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("a", "x", 1.0, 1), ("a", "y", 1.0, 1)], "one user alone is left"),
        ([("a", "x", 1e31, 1), ("b", "y", 1.0, 1)], "a weight of 1e+31 is past 1e+30; scale the weights down"),
        ([(f"u{user}", "x", 1.0, 1) for user in range(5)], "none of the 5 users has two items"),
        ([("a", "x", 1.0, 1), ("a", "y", 1.0, 1), ("b", "x", 1.0, 1), ("c", "z", 1.0, 1)], None),
    ],
)
def test_users_that_cannot_be_divided_are_a_fault(rows: list[oracle.Row], expected: str | None) -> None:
    """Without TF-Transform: these steps come before it."""
    rules, split = FeatureRules(), SplitRule("time")
    with beam.Pipeline(runner=FnApiRunner()) as root:
        blocks = root | beam.Create([oracle.block_of(rows)])
        grouped = blocks | GroupHistories(rules, split, 1)
        divided = grouped.histories | DivideUsers(grouped.summary, split, rules, False)
        of_facts = divided.facts | beam.FlatMap(fault_of)
        assert_that((grouped.faults, of_facts) | beam.Flatten(), functools.partial(begin_with, expected))


def fault_of(fact: tuple[str, Any]) -> list[str]:
    found: list[str] = fact[1] if fact[0] == "faults" else []
    return found


def begin_with(expected: str | None, found: list[str]) -> None:
    assert (found == []) if expected is None else sorted(found)[0].startswith(expected), found


def test_counts_merge_in_any_grouping_and_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MergeCountsFn, "FLUSH_ITEMS", 2)
    rng = random.Random(1)
    parts = [
        ItemCounts(pa.array(ids := rng.sample(ITEMS, 5)), pa.array([rng.randrange(9) for _ in ids]).to_numpy())
        for _ in range(7)
    ]
    combine = MergeCountsFn()
    accumulators = []
    for begin, end in ((0, 3), (3, 3), (3, 7)):
        accumulator = combine.create_accumulator()
        for part in parts[begin:end]:
            accumulator = combine.add_input(accumulator, part)
        accumulators.append(combine.compact(accumulator))
    found = combine.extract_output(combine.merge_accumulators(accumulators))
    expected: dict[str, int] = {}
    for part in parts:
        for item, users in zip(part.ids.to_pylist(), part.users.tolist(), strict=True):
            expected[item] = expected.get(item, 0) + users
    assert dict(zip(found.ids.to_pylist(), found.users.tolist(), strict=True)) == expected
    assert len(merge_counts([]).ids) == 0


def test_every_step_has_a_stable_label(tmp_path: pathlib.Path) -> None:
    """A label with a file and a line in it would change with every edit."""
    from pipelines.vae_train.pipeline import Job, build
    from transforms.interactions.files import InputFile
    from transforms.interactions.format import InteractionFormat

    root = beam.Pipeline(runner="FnApiRunner")
    build(
        root,
        Job(
            files=[InputFile("x.parquet", 1)],
            format=InteractionFormat(),
            rules=FeatureRules(),
            split=SplitRule("user"),
            folder=str(tmp_path),
            side_files={},
            unavailable=pa.array([], pa.string()),
            user_shards=1,
        ),
    )
    own = [part.full_label for part in root.transforms_stack[0].parts]
    assert own == [
        "ReadInteractions",
        "WriteDeadLetters",
        "GroupHistories",
        "DivideUsers",
        "TransformUsers",
        "WriteExamples",
        "WriteVocabulary",
        "GatherFacts",
    ]
