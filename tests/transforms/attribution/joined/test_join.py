"""Joined decisions: the statistics of the oracle over a log full of oddities, and cases of known content."""

from __future__ import annotations

import collections
import pathlib
import random
from typing import Any

import orjson
import pyarrow as pa
import pytest
import yaml

from examples.reward_stream import generate
from examples.reward_stream.world import BANDITS, Knobs
from serving_client.contracts.bandits_document import bandits_of
from tests.oracles.oracle import statistics_of
from transforms.attribution.joined.join import JoinedDecisions, join_blocks
from transforms.attribution.joined.log_blocks import LogBlock, read_range
from transforms.attribution.parsing.file_ranges import ranges_of
from transforms.attribution.rules import Rules

ODD = Knobs(
    duplicate_decisions=0.05, duplicate_rewards=0.1, conflicting_decisions=0.05, conflicting_rewards=0.1,
    far_skewed_rewards=0.05, edge_rewards=0.1, tied_rewards=0.1, orphan_rewards=0.05, bots=0.05, failures=0.05,
    old_generations=0.1, unknown_generations=0.03, old_epochs=0.03, unknown_epochs=0.03, unknown_arms=0.03,
    unknown_bandits=0.03, zero_propensities=0.05, odd_features=0.2, malformed=0.02, future=0.03,
)  # fmt: skip
LATEST_US = 1 << 60
ONE = {
    "bandits": {
        "row": {
            "policy_epoch": 1,
            "default_arm": "a",
            "arms": {"a": {"generation": 1, "model": "a"}, "b": {"generation": 2, "model": "b"}},
            "policy": {"kind": "fixed", "weights": {"a": 0.5, "b": 0.5}},
            "attribution": {"window": "10s", "allowed_lateness": "1m", "aggregate": "sum", "max_future": "1s"},
        }
    }
}
RULES = Rules(bandits_of(ONE, "test"))


def at(seconds: float) -> str:
    return f"2026-11-24T06:00:{seconds:09.6f}Z"


def decision(name: str, seconds: float = 0, **fields: Any) -> dict[str, Any]:
    plain = {
        "decision_id": name, "bandit_id": "row", "policy_epoch": 1, "segment": "*", "arm_id": "a", "arm_generation": 1,
        "propensity": 0.5, "decided_at": at(seconds),
    }  # fmt: skip
    return plain | fields


def reward(of: str, name: str, seconds: float = 1, value: float = 1, **fields: Any) -> dict[str, Any]:
    plain = {"event_id": name, "decision_id": of, "kind": "click", "value": value, "occurred_at": at(seconds)}
    return plain | fields


def blocks_of(folder: pathlib.Path, rules: Rules, shards: int, range_bytes: int) -> list[list[LogBlock]]:
    """The blocks of all ranges of all files, by shard."""
    found: list[list[LogBlock]] = [[] for _ in range(shards)]
    for source in ("decisions", "rewards"):
        sizes = {str(path): path.stat().st_size for path in (folder / source).iterdir()}
        for part in ranges_of(source, sizes, range_bytes):
            for shard, block in read_range(part, rules, shards, LATEST_US).blocks.items():
                found[shard].append(block)
    return found


def joined_from(folder: pathlib.Path, *records: dict[str, Any]) -> tuple[JoinedDecisions, dict[str, int]]:
    """Join records in one shard, each in a file of its own."""
    for source in ("decisions", "rewards"):
        (folder / source).mkdir(exist_ok=True)
    for number, record in enumerate(records):
        source = "rewards" if "event_id" in record else "decisions"
        (folder / source / f"{number}.jsonl").write_bytes(orjson.dumps(record) + b"\n")
    (blocks,) = blocks_of(folder, RULES, 1, 1 << 20)
    joined, counts = join_blocks(blocks, RULES)
    return joined, dict(counts)


def by_id(joined: JoinedDecisions) -> dict[str, dict[str, Any]]:
    return {row["decision_id"]: row for row in joined.decisions.to_pylist()}


@pytest.mark.parametrize("seed", [1, 2])
def test_counted_decisions_add_up_to_the_rows_of_the_oracle(tmp_path: pathlib.Path, seed: int) -> None:
    rng = random.Random(seed)
    generate.write(tmp_path, 400, knobs=ODD, rewards_per_decision=1.5, rate=10.0, seed=seed)
    rules = Rules(bandits_of(yaml.safe_load(BANDITS), "test"))
    sums: dict[tuple[Any, ...], list[float]] = collections.defaultdict(lambda: [0, 0.0])
    for blocks in blocks_of(tmp_path, rules, rng.randrange(1, 4), rng.choice([3_000, 1 << 20])):
        rng.shuffle(blocks)
        for row in join_blocks(blocks, rules)[0].decisions.to_pylist():
            if row["outcome"] == "counted" and not row["fallback"]:
                names = ("bandit_id", "policy_epoch", "segment", "arm_id", "arm_generation")
                cell = sums[tuple(row[name] for name in names)]
                cell[0] += 1
                cell[1] += row["reward"]
    expected = {}
    for name, document in statistics_of(tmp_path).items():
        for arm in document.get("arms", ()):
            if arm["segment"] != "*" and arm["n"]:
                key = (name, document["policy_epoch"], arm["segment"], arm["arm_id"], arm["arm_generation"])
                expected[key] = [arm["n"], pytest.approx(arm["sum_r"], abs=1e-9)]
    assert len(expected) > 10
    assert {key: cell for key, cell in sums.items() if key[2] != "*"} == expected


def test_blocks_do_not_depend_on_the_order_or_division_of_the_log(tmp_path: pathlib.Path) -> None:
    generate.write(tmp_path, 150, knobs=ODD, rewards_per_decision=1.5, rate=10.0)
    rules = Rules(bandits_of(yaml.safe_load(BANDITS), "test"))
    (once,), (again,) = blocks_of(tmp_path, rules, 1, 1 << 20), blocks_of(tmp_path, rules, 1, 2_000)
    random.Random(1).shuffle(again)
    (plain, counts), (other, others) = join_blocks(once, rules), join_blocks(again, rules)
    assert counts == others
    for one, two in ((plain.decisions, other.decisions), (plain.rewards, other.rewards)):
        assert decoded(one).equals(decoded(two))


def decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Without dictionaries, whose order is that of the input."""
    columns = [each.dictionary_decode() if pa.types.is_dictionary(each.type) else each for each in batch.columns]
    return pa.record_batch(columns, names=batch.schema.names)


def test_a_fallback_keeps_the_reward_of_the_arm_that_was_drawn(tmp_path: pathlib.Path) -> None:
    joined, _ = joined_from(
        tmp_path, decision("x", served_by="b"), reward("x", "1", value=2), decision("y", served_by="a"), decision("z")
    )
    rows = by_id(joined)
    assert (rows["x"]["outcome"], rows["x"]["fallback"], rows["x"]["reward"]) == ("counted", True, 2.0)
    assert [rows[name]["fallback"] for name in "yz"] == [False, False]
    assert [rows[name]["served_by"] for name in "xyz"] == ["b", "a", "a"]


def test_the_fields_of_the_winning_copy_are_those_of_the_row(tmp_path: pathlib.Path) -> None:
    """Of two copies the earlier wins, with its own context; a holdback decision is marked and keeps its reward."""
    joined, counts = joined_from(
        tmp_path,
        decision("x", 2, user_key="late", context={"plan": "paid"}),
        decision("x", 1, user_key="early", context={"plan": "free"}, holdback=True, rung="fresh", features=[0.1, 2]),
        reward("x", "1", 3, value=0.25),
    )
    (row,) = joined.decisions.to_pylist()
    assert row["user_key"] == "early" and orjson.loads(row["context"]) == {"plan": "free"}
    assert (row["holdback"], row["rung"], row["features"], row["reward"]) == (True, "fresh", [0.1, 2.0], 0.25)
    assert row["propensities"] is None and row["snapshot_version"] is None
    assert counts == {"duplicate": 1, "conflicting_duplicates": 1, "orphan": 0}


def test_the_outcomes_of_decisions_that_do_not_count_are_named(tmp_path: pathlib.Path) -> None:
    joined, counts = joined_from(
        tmp_path, decision("bot", bot=True), decision("old", policy_epoch=0), decision("arm", arm_id="c"),
        reward("bot", "1"), reward("nobody", "1"),
    )  # fmt: skip
    rows = by_id(joined)
    assert {name: row["outcome"] for name, row in rows.items()} == {
        "bot": "bot", "old": "old_epoch", "arm": "unknown_arm",
    }  # fmt: skip
    assert rows["bot"]["reward"] == 0.0
    assert counts["orphan"] == 1


def test_every_event_of_a_decision_is_a_row_and_knows_whether_it_is_in_the_window(tmp_path: pathlib.Path) -> None:
    """The window runs from 1 s before the decision at 5 s to 10 s after it, both ends inclusive."""
    joined, _ = joined_from(
        tmp_path, decision("x", 5), reward("x", "a", 3.999999), reward("x", "b", 4, item_id="item", position=3),
        reward("x", "c", 15, value=0.5), reward("x", "d", 15.000001), reward("nobody", "e"),
        reward("x", "f", 6, kind="hover"),
    )  # fmt: skip
    assert joined.decisions["reward"].to_pylist() == [1.5]
    rows = joined.rewards.to_pylist()
    assert [(row["kind"], row["value"], row["in_window"]) for row in rows] == [
        ("click", 1.0, False), ("click", 1.0, True), ("hover", 1.0, True), ("click", 0.5, True), ("click", 1.0, False),
    ]  # fmt: skip
    assert {row["decision"] for row in rows} == {0}
    assert (rows[1]["item_id"], rows[1]["position"]) == ("item", 3)


def test_a_shard_without_decisions_gives_an_empty_block(tmp_path: pathlib.Path) -> None:
    joined, counts = joined_from(tmp_path, reward("nobody", "1"))
    assert (len(joined.decisions), len(joined.rewards), counts["orphan"]) == (0, 0, 1)
