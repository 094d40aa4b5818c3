"""The generator of decisions and rewards: equal bytes for a seed, every oddity in it, and the truth of the oracle."""

from __future__ import annotations

import hashlib
import json
import pathlib
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
import yaml

from examples.reward_stream import generate
from examples.reward_stream.config import configs
from examples.reward_stream.files import LiveClock, Log
from examples.reward_stream.records import parse_line, time_us
from examples.reward_stream.world import BANDITS, Knobs
from tests.oracles.oracle import statistics, statistics_of
from tests.oracles.tally import OUTCOMES, STREAM

Record = dict[str, Any]

# Everything often enough for a small folder.
OFTEN = Knobs(
    conflicting_decisions=0.02, conflicting_rewards=0.03, edge_rewards=0.05, tied_rewards=0.05, orphan_rewards=0.02,
    unknown_generations=0.01, old_epochs=0.01, unknown_epochs=0.01, unknown_arms=0.01, unknown_bandits=0.01,
    zero_propensities=0.01, odd_features=0.1, malformed=0.01, future=0.01, late=0.01,
)  # fmt: skip

OTHER = """\
bandits:
  tiny:
    policy_epoch: 0
    default_arm: only
    arms: {only: {generation: 1, model: m}}
    policy: {kind: fixed, weights: {only: 1}}
    attribution: {window: 500ms, allowed_lateness: 6s, max_future: 60s, aggregate: first, reward_kinds: [impression]}
    half_lives: [1s]
    hours_kept: 1
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Five minutes of event time in which everything goes wrong."""
    directory = tmp_path_factory.mktemp("odd")
    generate.write(directory, 6_000, knobs=OFTEN, rewards_per_decision=0.8, rate=36.0)
    return directory


def records(directory: pathlib.Path, source: str) -> list[Record]:
    lines = (line for path in sorted((directory / source).iterdir()) for line in path.read_bytes().splitlines())
    return [record for line in lines if (record := parse_line(line)) is not None]


def truth_of(directory: pathlib.Path) -> Record:
    truth: Record = json.loads((directory / "truth.json").read_text())
    return truth


def digests(directory: pathlib.Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_truth_is_the_oracle_s(odd: pathlib.Path) -> None:
    assert truth_of(odd) == statistics_of(odd)


@pytest.mark.parametrize("seed", [2, 3, 4])
@pytest.mark.parametrize("bandits", [BANDITS, OTHER], ids=["own", "other"])
def test_the_truth_is_the_oracle_s_whatever_the_seed_and_the_bandits(
    tmp_path: pathlib.Path, seed: int, bandits: str
) -> None:
    generate.write(
        tmp_path,
        1_500,
        knobs=OFTEN,
        bandits=bandits,
        seed=seed,
        rewards_per_decision=1.5,
        rate=0.9,
        max_disorder_us=10**6,
    )
    assert truth_of(tmp_path) == statistics_of(tmp_path)


def test_more_than_a_chunk_adds_up(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "_CHUNK", 700)
    generate.write(tmp_path, 3_000, knobs=OFTEN, rewards_per_decision=0.5, rate=3_000.0, files_every_us=100_000)
    assert truth_of(tmp_path) == statistics_of(tmp_path)


def test_the_same_records_in_any_order_have_the_same_truth(odd: pathlib.Path) -> None:
    rng = random.Random(5)
    decisions, rewards = records(odd, "decisions"), records(odd, "rewards")
    rng.shuffle(decisions)
    rng.shuffle(rewards)
    late = json.loads((odd / "late.json").read_text())
    truth = truth_of(odd)
    shuffled = statistics(yaml.safe_load((odd / "bandits.yaml").read_text()), decisions, rewards, late=frozenset(late))
    for snapshot in (truth[STREAM], shuffled[STREAM]):
        del snapshot["counters"]["malformed"]  # among them lines that are no objects, which were not handed over
    assert shuffled == truth


def test_everything_that_can_happen_happens(odd: pathlib.Path) -> None:
    truth = truth_of(odd)
    seen: Counter[str] = Counter()
    for snapshot in truth.values():
        seen.update(snapshot["counters"])
    assert [name for name in (*OUTCOMES, "conflicting_duplicates") if not seen[name]] == []
    rows = {name: snapshot["arms"] for name, snapshot in truth.items() if name != STREAM}
    assert all(any(row["n"] for row in each) and any(row["fallbacks"] for row in each) for each in rows.values())
    assert any(row["ipw"]["missing"] for each in rows.values() for row in each)
    document = configs(yaml.safe_load(BANDITS))
    older = [
        row for name, each in rows.items() for row in each if row["arm_generation"] < document[name].arms[row["arm_id"]]
    ]
    assert older


def test_outcomes_add_up_to_the_lines(odd: pathlib.Path) -> None:
    lines = sum(json.loads((odd / "generated.json").read_text())["lines"].values())
    truth = truth_of(odd)
    assert sum(truth[owner]["counters"][name] for owner in truth for name in OUTCOMES) == lines


def test_equal_arguments_give_equal_bytes_and_another_seed_others(tmp_path: pathlib.Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate.write(tmp_path / name, 400, knobs=OFTEN, seed=seed)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert digests(tmp_path / "a") != digests(tmp_path / "c")


def test_a_clean_folder_has_nothing_outside_the_promise(tmp_path: pathlib.Path) -> None:
    assert generate.main([f"--output={tmp_path / 'out'}", "--decisions=3000", "--clean", "--late=0.1"]) == 0
    truth = truth_of(tmp_path / "out")
    for name in ("malformed", "future", "late", "conflicting_duplicates"):
        assert all(snapshot["counters"][name] == 0 for snapshot in truth.values())
    assert sum(snapshot["counters"]["duplicate"] for snapshot in truth.values()) > 0
    assert not (tmp_path / "out" / "late.json").exists()


def test_records_lie_in_the_file_of_their_arrival_in_its_order(odd: pathlib.Path) -> None:
    """Copies arrive after the first of them, so a file's received_at alone is out of order there."""
    began_us = time_us("2026-01-05T00:00:00Z")
    for source in ("decisions", "rewards"):
        for path in (odd / source).iterdir():
            number = int(path.stem.removeprefix("part-"))
            arrivals = [
                time_us(r["received_at"])
                for r in map(parse_line, path.read_bytes().splitlines())
                if r and "received_at" in r
            ]
            assert all(arrival < began_us + (number + 1) * 1_000_000 for arrival in arrivals)


def test_no_record_is_late_unless_it_was_asked_for(odd: pathlib.Path) -> None:
    """Read in the order of arrival: the largest accepted event time less 5 s never passes an event by its lateness."""
    document = configs(yaml.safe_load(BANDITS))
    lateness_us = min(config.lateness_us for config in document.values())
    for source, time_name in (("decisions", "decided_at"), ("rewards", "occurred_at")):
        largest_us = 0
        for record in records(odd, source):
            try:
                at_us, received_us = time_us(record[time_name]), time_us(record["received_at"])
            except (KeyError, ValueError):
                continue  # malformed
            if str(record["decision_id"]).startswith("late-") or at_us > received_us + 5_000_000:
                continue
            assert largest_us - 5_000_000 <= at_us + lateness_us
            largest_us = max(largest_us, at_us)


def test_arms_are_drawn_by_the_logged_propensities(odd: pathlib.Path) -> None:
    """The share of an arm less the mean of its propensities, over a standard error of at most 0.5 / sqrt(n)."""
    logged = [r for r in records(odd, "decisions") if r.get("bandit_id") == "home_row" and "propensities" in r]
    decisions = [r for r in logged if not r.get("holdback")]
    for arm in ("cf", "vae", "popular"):
        drawn = np.mean([r["arm_id"] == arm for r in decisions])
        expected = np.mean([r["propensities"][arm] for r in decisions])
        assert abs(drawn - expected) < 4 * 0.5 / len(decisions) ** 0.5 + 0.03  # unknown arms and contradictions


def test_a_share_of_the_users_is_held_back_and_gets_the_first_arm(odd: pathlib.Path) -> None:
    """5% of the users, from `user_key` alone, so that a user is in the share or not."""
    logged = [r for r in records(odd, "decisions") if r.get("bandit_id") == "home_row" and "propensities" in r]
    held = {r["user_key"] for r in logged if r.get("holdback")}
    assert not held & {r["user_key"] for r in logged if not r.get("holdback")}
    assert abs(np.mean([r["user_key"] in held for r in logged]) - 0.05) < 4 * (0.05 / len(logged)) ** 0.5
    assert {next(iter(r["propensities"])) for r in logged if r.get("holdback")} == {"cf"}


def test_a_sticky_user_keeps_the_arm(tmp_path: pathlib.Path) -> None:
    none = Knobs(**dict.fromkeys(Knobs.__dataclass_fields__, 0.0))
    generate.write(tmp_path, 8_000, knobs=none)
    arms: dict[str, set[str]] = {}
    for record in records(tmp_path, "decisions"):
        if record["bandit_id"] == "mail":
            arms.setdefault(record["user_key"], set()).add(record["arm_id"])
    assert all(len(each) == 1 for each in arms.values())
    assert {arm for each in arms.values() for arm in each} == {"short", "long"}


def test_lines_are_about_450_bytes(odd: pathlib.Path) -> None:
    lines = [line for path in (odd / "decisions").iterdir() for line in path.read_bytes().splitlines()]
    assert 400 < np.mean([len(line) for line in lines]) < 550


def test_a_folder_with_something_in_it_is_refused(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").touch()
    assert generate.main([f"--output={tmp_path}", "--decisions=1"]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_live_files_appear_whole_when_their_time_has_come(tmp_path: pathlib.Path) -> None:
    """Files that end at 1 s and 2 s of event time are written at 1 s and 2 s of the clock, in their order."""
    now, seen = [100.0], []

    def sleep(seconds: float) -> None:
        now[0] += seconds
        seen.append((round(now[0] - 100, 3), sorted(path.name for path in tmp_path.rglob("*.jsonl"))))

    log = Log(tmp_path / "log", 0, 1_000_000)
    log.add(np.array([1_500_000, 200_000, 900_000]), ["late", "first", "second"])
    LiveClock(0, True, clock=lambda: now[0], sleep=sleep).write(log.files_before(None))
    assert seen == [(1.0, []), (2.0, ["part-00000000.jsonl"])]
    assert (tmp_path / "log" / "part-00000000.jsonl").read_text() == "first\nsecond\n"
    assert [path.name for path in sorted((tmp_path / "log").iterdir())] == [
        "part-00000000.jsonl",
        "part-00000001.jsonl",
    ]


def test_files_wait_for_what_may_still_arrive(tmp_path: pathlib.Path) -> None:
    log = Log(tmp_path / "log", 0, 1_000_000)
    log.add(np.array([200_000, 1_500_000]), ["a", "b"])
    assert [path[-10:] for _, path, _ in log.files_before(1_700_000)] == ["0000.jsonl"]
    log.add(np.array([1_200_000]), ["c"])
    assert [content for _, _, content in log.files_before(None)] == [b"c\nb\n"]
    assert log.lines_written == 3
