"""Published numbers, in a small version, by our statistics code; benchmarks/reward_numbers.py has the full ones."""

from __future__ import annotations

import csv
import gzip
import json

import numpy as np
import pytest

from benchmarks.rewards import delayed, globo, open_bandit, simpson
from serving_client import bandits_file
from serving_client.contracts.times import AFTER_ALL_US, parse_time
from transforms.attribution.joining.fold import Shard, finish, fold
from transforms.attribution.parsing.columns import to_blocks
from transforms.attribution.parsing.records import read_decisions, read_rewards
from transforms.attribution.rules import Rules
from transforms.attribution.statistics.rows import RowSums, row_document

NOW_US = parse_time("2026-11-24T12:00:00Z")


def statistics(bandits, decisions, rewards):
    """A snapshot's rows and counters of these records, by the join alone: one shard, all windows over."""
    rules = Rules(bandits_file.parse_bytes(bandits.encode(), "bandits.yaml"))
    (bandit,) = rules.bandits.bandits.values()
    lines = [b"".join(json.dumps(each).encode() + b"\n" for each in records) for records in (decisions, rewards)]
    shard = Shard.empty(rules)
    columns, bad, _ = read_decisions(lines[0], 0, NOW_US, AFTER_ALL_US)
    more_columns, more_bad, _ = read_rewards(lines[1], 0, NOW_US, AFTER_ALL_US)
    assert not bad + more_bad
    for block in to_blocks(columns, more_columns, 1, "log"):
        fold(shard, block, rules)
    step = finish(shard, rules)
    whole: dict = {}
    for label, sums in step.live.rows.items():
        for each in (label, label._replace(segment="*")):
            whole.setdefault(each, RowSums()).add(sums)
    newest_us = max(step.max_decided_us.values())
    rows = [row_document(label, sums, 0, newest_us, newest_us, bandit) for label, sums in sorted(whole.items())]
    return {"arms": rows, "counters": {outcome: n for (_, _, outcome), n in step.live.counters.items()}}


def test_simpsons_case_turns_around_when_hours_are_weighted_by_traffic():
    rows = simpson.rows()
    assert [round(simpson.pooled(row), 4) for row in rows] == [0.0626, 0.0667]
    assert [round(simpson.reweighted(rows, arm), 4) for arm in "AB"] == [0.0645, 0.0545]


def test_counting_at_once_prefers_the_worse_arm_and_matured_counting_the_better():
    """A tenth of the published case's times, larger rates: .22 and .79 here; .107 and .70 at the full size."""
    small = delayed.Scenario((0.5, 0.4), (300.0, 5.0), window=1_000, steps=3_000, repetitions=40, publish=20)
    assert delayed.at_once(small, np.random.default_rng(1)).mean() < 0.3
    assert delayed.matured(small, np.random.default_rng(1)).mean() > 0.7


def test_off_policy_estimates_from_rows_are_those_of_the_log_itself(tmp_path):
    rng = np.random.default_rng(2)
    items = 6
    with (tmp_path / "men.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["", "timestamp", "item_id", "position", "click", "propensity_score"])
        for row in range(3_000):
            at = f"2019-11-24 00:{row // 60:02d}:{row % 60:02d}.{row:06d}+00:00"
            out.writerow([row, at, rng.integers(items), rng.integers(1, 4), int(rng.random() < 0.05), 1 / items])
    log = list(open_bandit.read_log(tmp_path / "men.csv"))
    target = open_bandit.target_policy(np.arange(5.0, 5 + items), np.full(items, 90.0), 5_000, rng)
    bandits = open_bandit.bandits_yaml([str(item) for item in range(items)])
    found = statistics(bandits, [one for one, _ in log], [click for _, click in log if click])
    ours, expected = open_bandit.evaluate(found["arms"], target), open_bandit.plain(log, target)
    assert (ours.decisions, ours.clicks) == (expected.decisions, expected.clicks) == (3_000, 143)
    for name in ("ips", "standard_error", "snips", "ess"):
        assert getattr(ours, name) == pytest.approx(getattr(expected, name), rel=1e-9), name


def test_the_target_policy_is_thompson_sampling_over_places():
    """Two sure items and one that never wins: the first takes place 1, the second 2, the third 3."""
    alpha, beta = np.array([9_000.0, 5_000.0, 1_000.0]), np.array([1_000.0, 5_000.0, 9_000.0])
    target = open_bandit.target_policy(alpha, beta, 1_000, np.random.default_rng(3))
    assert target.tolist() == np.eye(3).tolist()


def test_sessions_of_clicks_become_decisions_and_rewards_with_known_statistics(tmp_path):
    rng = np.random.default_rng(4)
    for hour in range(3):
        with gzip.open(tmp_path / f"clicks_hour_{hour:03d}.csv.gz", "wt", newline="") as file:
            out = csv.writer(file)
            out.writerow(["session_id", "click_article_id", "click_timestamp", "click_deviceGroup"])
            for session in range(50):
                at_ms = 1_506_825_423_271 + hour * 3_600_000 + int(rng.integers(3_600_000))
                for _ in range(rng.integers(1, 5)):
                    out.writerow([f"{hour}-{session}", rng.integers(1_000), at_ms, rng.integers(1, 4)])
                    at_ms += int(rng.integers(globo.WINDOW_MS))
    files = sorted(tmp_path.glob("*.gz"))
    (tmp_path / "logs").mkdir()
    counts = globo.write_logs(files, tmp_path / "logs")
    decisions, rewards = (
        [
            json.loads(line)
            for path in sorted((tmp_path / "logs").glob(f"{kind}-*"))
            for line in path.read_text().splitlines()
        ]
        for kind in ("decisions", "rewards")
    )
    assert (len(decisions), len(rewards)) == (counts["decisions"], counts["rewards"])
    expected = globo.truth(click for path in files for click in globo.read_clicks(path))
    found = statistics(globo.BANDITS, decisions, rewards)
    assert globo.differences(found, expected) == []
    assert expected.outcomes["outside_window"] > 0
    found["arms"][0]["n"] += 1
    assert len(globo.differences(found, expected)) == 1
