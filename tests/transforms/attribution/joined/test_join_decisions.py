"""The Beam step: the same blocks as the pure join, dead letters, counts, and faults."""

from __future__ import annotations

import pathlib
from typing import Any

import apache_beam as beam
import orjson
import pytest
import yaml
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from tests.transforms.attribution.joined.test_join import ONE, decision, reward
from transforms.attribution.joined.join_decisions import JoinDecisions, check_join
from transforms.dead_letters import WriteDeadLetters
from transforms.errors import BadInput
from transforms.files import storage
from transforms.runs.facts import WriteFacts

NOW_US = 1 << 60


def write_rows(element: tuple[int, Any], folder: str) -> None:
    shard, joined = element
    rows = joined.decisions.select(["decision_id", "reward"]).to_pylist()
    storage.write_json(f"{folder}/shard-{shard}.json", {row["decision_id"]: row["reward"] for row in rows})


def run(folder: pathlib.Path, decisions: dict[str, int], rewards: dict[str, int], shard_bytes: int) -> dict[str, Any]:
    """Run the step and return its facts. The rewards of each shard are in shard-N.json."""
    bandits = yaml.safe_dump(ONE).encode()
    with beam.Pipeline(runner=FnApiRunner()) as root:
        joined = root | "Join" >> JoinDecisions(bandits, decisions, rewards, NOW_US, shard_bytes)
        _ = joined.blocks | "WriteRows" >> beam.Map(write_rows, str(folder))
        _ = joined.rejected | "WriteDeadLetters" >> WriteDeadLetters(f"{folder}/dead")
        _ = joined.facts | "WriteFacts" >> WriteFacts(f"{folder}/facts.json")
    facts: dict[str, Any] = storage.read_json(f"{folder}/facts.json")
    return facts


def test_the_step_joins_in_shards_and_counts_what_it_read(tmp_path: pathlib.Path) -> None:
    decisions, rewards = tmp_path / "decisions.jsonl", tmp_path / "rewards.jsonl"
    lines = [orjson.dumps(decision(f"d{number}", number / 10)) for number in range(40)]
    decisions.write_bytes(b"\n".join([*lines, b"{oops"]))
    rewards.write_bytes(b"\n".join(orjson.dumps(reward(f"d{number}", "e", 5)) for number in range(0, 50, 10)))
    sizes = [{str(path): path.stat().st_size} for path in (decisions, rewards)]
    facts = run(tmp_path, *sizes, shard_bytes=3_000)
    shards = [storage.read_json(str(path)) for path in tmp_path.glob("shard-*.json")]
    assert len(shards) == 3
    found = {name: value for shard in shards for name, value in shard.items()}
    assert found == {f"d{number}": float(number % 10 == 0) for number in range(40)}
    assert (facts["records_read"], facts["malformed"], facts["orphan"]) == (46, 1, 1)
    (letters,) = (tmp_path / "dead").iterdir()
    assert b"{oops" in letters.read_bytes()
    check_join(facts, 0.03, "dead")
    with pytest.raises(BadInput, match=r"1 of 46 lines are malformed, more than --max_bad_fraction=0.02; .*dead"):
        check_join(facts, 0.02, "dead")


def test_a_file_that_cannot_be_read_and_empty_logs_are_bad_input(tmp_path: pathlib.Path) -> None:
    damaged = tmp_path / "decisions.jsonl.gz"
    damaged.write_bytes(b"no gzip")
    with pytest.raises(BadInput, match=r"decisions.jsonl.gz: cannot be read"):
        check_join(run(tmp_path, {str(damaged): 7}, {}, 1 << 20), 1, "dead")
    with pytest.raises(BadInput, match="the files hold no records"):
        check_join({"records_read": 0}, 1, "dead")
