"""Interactions of joined decisions: each outcome by a case worked by hand, and a log full of oddities by an oracle."""

from __future__ import annotations

import json
import pathlib
import random
from collections import Counter
from typing import Any

import pytest
import yaml

from examples.reward_stream import generate
from examples.reward_stream.records import is_decision, is_reward, micro_of, parse_line, time_us
from examples.reward_stream.world import BANDITS
from pipelines.interactions.rows import OUTCOMES, rows_of
from serving_client.contracts.bandits_document import bandits_of
from tests.oracles.ranks import rank_of
from tests.transforms.attribution.joined.test_join import ODD, blocks_of, decision, joined_from, reward
from transforms.attribution.joined.join import join_blocks
from transforms.attribution.rules import Rules

MORNING_US = 1_795_500_000_000_000
SHOWN = ["a", "b", "c"]


def interactions(
    folder: pathlib.Path, *records: dict[str, Any], kinds: str = "click"
) -> tuple[list[Any], Counter[str]]:
    """Interactions as (user, item, weight, seconds after 6:00), and the counts that are not 0."""
    table, counts = rows_of(joined_from(folder, *records)[0], kinds.split(","))
    rows = [
        (row["user_id"], row["item_id"], row["weight"], (row["timestamp"].timestamp() * 1e6 - MORNING_US) / 1e6)
        for row in table.to_pylist()
    ]
    return rows, Counter({name: count for name, count in counts.items() if count})


def test_an_interaction_is_the_decisions_user_and_the_rewards_item_value_and_time(tmp_path: pathlib.Path) -> None:
    rows, counts = interactions(
        tmp_path, decision("x", user_key="ann"), reward("x", "1", 2.5, value=0.25, item_id="7", position=0),
        decision("y", user_key="bob"), reward("y", "1", 1, item_id="007"),
    )  # fmt: skip
    assert rows == [("ann", "7", 0.25, 2.5), ("bob", "007", 1.0, 1.0)]
    assert counts == {"interactions": 2, "kind:click": 2}


def test_a_reward_without_an_item_is_of_the_item_at_its_position_from_0(tmp_path: pathlib.Path) -> None:
    rows, counts = interactions(
        tmp_path, decision("x", user_key="ann", items=SHOWN), decision("y", user_key="ann"),
        reward("x", "1", 1, position=0), reward("x", "2", 2, position=2), reward("x", "3", 3, position=3),
        reward("x", "4", 4, position=-1), reward("x", "5", 5), reward("y", "1", 6, position=0),
        reward("x", "6", 7, position=1, item_id="z"),
    )  # fmt: skip
    assert rows == [("ann", "a", 1.0, 1.0), ("ann", "c", 1.0, 2.0), ("ann", "z", 1.0, 7.0)]
    assert counts == {"interactions": 3, "no_item": 4, "kind:click": 7}


def test_bots_other_kinds_values_of_0_and_rewards_without_a_user_are_left_out(tmp_path: pathlib.Path) -> None:
    rows, counts = interactions(
        tmp_path, decision("x", user_key="ann"), decision("bot", user_key="bot", bot=True), decision("nobody"),
        reward("x", "1", item_id="a"), reward("x", "2", item_id="a", kind="hover"),
        reward("x", "3", item_id="a", value=0), reward("x", "4", item_id="a", value=-1),
        reward("x", "5", item_id="b", kind="enrol"), reward("bot", "1", item_id="a", kind="hover"),
        reward("nobody", "1", item_id="a"), reward("orphan", "1", item_id="a"), kinds="click,enrol",
    )  # fmt: skip
    assert rows == [("ann", "a", 1.0, 1.0), ("ann", "b", 1.0, 1.0)]
    assert counts == {
        "interactions": 2, "bot": 1, "other_kinds": 1, "not_positive": 2, "no_user": 1,
        "kind:click": 4, "kind:hover": 2, "kind:enrol": 1,
    }  # fmt: skip


def test_holdbacks_fallbacks_unknown_arms_and_rewards_after_the_window_are_interactions(tmp_path: pathlib.Path) -> None:
    rows, counts = interactions(
        tmp_path, decision("h", user_key="h", holdback=True), reward("h", "1", item_id="a"),
        decision("f", user_key="f", served_by="popularity"), reward("f", "1", item_id="a"),
        decision("u", user_key="u", arm_id="new", policy_epoch=9), reward("u", "1", item_id="a"),
        decision("late", user_key="late"), reward("late", "1", 50, item_id="a"),
    )  # fmt: skip
    assert [user for user, *_ in rows] == ["f", "h", "late", "u"]
    assert (counts["interactions"], counts["from_holdback"]) == (4, 1)


def test_of_copies_of_one_event_the_earlier_one_is_the_interaction(tmp_path: pathlib.Path) -> None:
    rows, _ = interactions(
        tmp_path, decision("x", user_key="ann"),
        reward("x", "1", 3, item_id="late"), reward("x", "1", 2, item_id="early"),
        reward("x", "2", 5, item_id="late"), reward("x", "2", 5, item_id="late"),
    )  # fmt: skip
    assert rows == [("ann", "early", 1.0, 2.0), ("ann", "late", 1.0, 5.0)]


def winner(copies: list[dict[str, Any]], time: str) -> dict[str, Any]:
    return min(copies, key=lambda record: (time_us(record[time]), rank_of(record)))


def slow_interactions(folder: pathlib.Path, kinds: set[str]) -> tuple[list[tuple[Any, ...]], Counter[str]]:
    """The rules of `rows_of`, one record at a time, over records that are neither malformed nor from the future."""
    decisions: dict[str, list[dict[str, Any]]] = {}
    events: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*/*.jsonl")):
        for line in path.read_bytes().splitlines():
            record = parse_line(line)
            name = "occurred_at" if path.parent.name == "rewards" else "decided_at"
            if record is None or not (is_reward(record) if name == "occurred_at" else is_decision(record)):
                continue
            received = record.get("received_at")
            if received is not None and time_us(record[name]) > time_us(received) + MOST_FUTURE_US:
                continue
            if name == "decided_at":
                decisions.setdefault(record["decision_id"], []).append(record)
            else:
                events.setdefault((record["decision_id"], record["event_id"]), []).append(record)
    rows, counts = [], Counter()
    for (decision_id, _), copies in events.items():
        if decision_id not in decisions:
            continue
        made, event = winner(decisions[decision_id], "decided_at"), winner(copies, "occurred_at")
        item, at, items = event.get("item_id"), event.get("position"), made.get("items") or []
        if item is None and at is not None and 0 <= at < len(items):
            item = items[at]
        if made.get("bot"):
            outcome = "bot"
        elif event["kind"] not in kinds:
            outcome = "other_kinds"
        elif event["value"] <= 0:
            outcome = "not_positive"
        elif made.get("user_key") is None:
            outcome = "no_user"
        elif item is None:
            outcome = "no_item"
        else:
            outcome = "interactions"
            weight = micro_of(event["value"]) / 1e6
            rows.append((made["user_key"], time_us(event["occurred_at"]), item, weight))
        counts[outcome] += 1
    return sorted(rows), counts


MOST_FUTURE_US = max(
    bandit.attribution.max_future_us for bandit in bandits_of(yaml.safe_load(BANDITS), "test").bandits.values()
)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_log_full_of_oddities_gives_what_the_oracle_says_in_any_order_and_division(
    tmp_path: pathlib.Path, seed: int
) -> None:
    rng = random.Random(seed)
    generate.write(tmp_path, 400, knobs=ODD, rewards_per_decision=1.5, rate=10.0, seed=seed)
    spoil(tmp_path, rng)
    rules = Rules(bandits_of(yaml.safe_load(BANDITS), "test"))
    rows: list[tuple[Any, ...]] = []
    counts: Counter[str] = Counter()
    for blocks in blocks_of(tmp_path, rules, rng.randrange(1, 4), rng.choice([3_000, 1 << 20])):
        rng.shuffle(blocks)
        table, found = rows_of(join_blocks(blocks, rules)[0], {"click", "enrol"})
        counts.update({name: found[name] for name in OUTCOMES})
        listed = [
            (row["user_id"], round(row["timestamp"].timestamp() * 1e6), row["item_id"], row["weight"])
            for row in table.to_pylist()
        ]
        assert listed == sorted(listed)
        rows += listed
    expected, expected_counts = slow_interactions(tmp_path, {"click", "enrol"})
    assert sorted(rows) == expected
    assert +counts == expected_counts
    assert set(expected_counts) == set(OUTCOMES)


def spoil(folder: pathlib.Path, rng: random.Random) -> None:
    """Remove users from some decisions and items from some rewards."""
    for path in folder.glob("*/*.jsonl"):
        lines = []
        for line in path.read_bytes().splitlines():
            record = parse_line(line)
            for name in ("user_key", "item_id", "position", "items"):
                if record is not None and name in record and rng.random() < 0.2:
                    del record[name]
            lines.append(line if record is None else json.dumps(record).encode())
        path.write_bytes(b"\n".join(lines) + b"\n")
