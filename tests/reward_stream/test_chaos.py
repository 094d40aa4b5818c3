"""A stream that is killed again and again, over input and a sink that misbehave, ends at the truth; and nobody notices.

The shorter version of benchmarks/reward_chaos.py, whose parts it runs: 20,000 events, one kill of each kind.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import numpy as np
import pytest

from benchmarks.rewards.chaos import verdict
from benchmarks.rewards.chaos.killer import MODES
from benchmarks.rewards.chaos.run import Chaos, run_chaos
from benchmarks.rewards.chaos.simulated import Simulation, kill_with
from benchmarks.rewards.chaos.sink import Sink
from benchmarks.rewards.chaos.watcher import Reader
from benchmarks.rewards.chaos.world import make_world
from examples.reward_stream.world import Knobs
from pipelines.reward_stream.destinations.directory import DirectoryDestination
from serving_client.snapshots.published import read_latest
from serving_client.snapshots.stores import open_store
from tests.oracles.tally import OUTCOMES
from tests.reward_stream.publisher_setup import SECOND, T0, Clock, label, publisher, report, step, sums

KNOBS = dataclasses.replace(Knobs().clean(), malformed=0.002, future=0.002, late=0.01)


@pytest.mark.slow
@pytest.mark.needs("prism")
def test_a_stream_killed_at_any_moment_ends_at_the_truth(tmp_path: pathlib.Path) -> None:
    modes = tuple(np.random.default_rng(7).permutation(MODES[:-1]).tolist())
    chaos = Chaos(18_000, rate=150.0, speed=5.0, modes=modes, seed=7, knobs=KNOBS)
    report = run_chaos(chaos, tmp_path)
    assert [f"{check.name}: {check.found}" for check in report.checks if not check.holds] == []
    assert report.refusals == 1
    assert min(count for what, count in report.world.counts.items()) > 0


def test_a_run_killed_between_any_two_messages_ends_at_the_truth(tmp_path: pathlib.Path) -> None:
    """Without a runner, so that there are many kills; at the same moments each time."""
    world = make_world(tmp_path, 3_000, rate=28.0, seed=3, knobs=KNOBS)
    delivered = tmp_path / "delivered"
    simulation = Simulation(delivered, tmp_path / "out", kill_with(0.08, np.random.default_rng(3)))
    simulation.run(world.plan)
    snapshots = verdict.snapshots_of(tmp_path / "out" / "snapshots")
    checks = [
        *verdict.check_statistics(delivered, snapshots),
        *verdict.check_letters(tmp_path / "out" / "dead_letters", delivered, snapshots),
    ]
    assert [f"{check.name}: {check.found}" for check in checks if not check.holds] == []
    assert simulation.kills > 20


def test_the_watcher_notices_what_a_reader_must_not_see(tmp_path: pathlib.Path) -> None:
    sink, notes = Sink(tmp_path / "snapshots"), list[dict[str, Any]]()
    reader = Reader(sink.path / "_stream", notes.append, falls=False)
    assert reader.poll() == "nothing"
    publish(sink.path / "_stream", 1, n=5, second=10)
    assert (reader.poll(), reader.poll()) == ("read", "same")
    sink.refuse()
    assert reader.poll() == "refused"
    sink.accept()
    publish(sink.path / "_stream", 3, n=4, second=9)
    reader.poll()
    publish(sink.path / "_stream", 2, n=4, second=11, schema_version=2)
    reader.poll()
    data = publish(sink.path / "_stream", 4, n=6, second=12)
    (sink.path / "_stream" / "4.json").write_bytes(data[:-5])
    assert reader.poll() == "half"
    (sink.path / "_stream" / "4.json").unlink()
    assert reader.poll() == "vanished"
    faults = [note["kind"] for note in notes if note["kind"] != "version"]
    assert faults == ["watermark fell", "n fell", "invalid", "version fell", "half", "vanished"]


def test_a_run_that_starts_while_the_sink_refuses_does_not_fall_behind_the_last_snapshot(
    tmp_path: pathlib.Path,
) -> None:
    """What cannot be read is not what was never published: nothing is known of it until it can."""
    sink, clock = Sink(tmp_path / "snapshots"), Clock()
    before, after = (
        publisher(DirectoryDestination(str(sink.path)), clock, shards=1)  # type: ignore[arg-type]
        for _ in range(2)
    )
    before.offer(step(0, 0, {label(): sums(10)}))
    before.offer(report(0, T0 + 100 * SECOND))
    sink.refuse()
    after.offer(step(0, 0, {label(): sums(3)}))
    assert "row: the last snapshot cannot be read" in after.offer(report(0, T0 + 50 * SECOND)).failures[0]
    sink.accept()
    after.offer(step(0, 1, {label(): sums(1)}))
    assert after.offer(report(1, T0 + 60 * SECOND)).held == ["row", "_stream"]
    after.offer(step(0, 2, {label(): sums(7)}))
    after.offer(report(2, T0 + 110 * SECOND))
    published = read_latest(open_store(str(sink.path)), "row")
    assert published is not None
    assert [row["n"] for row in json.loads(published.data)["arms"] if row["segment"] == "*"] == [11]


def publish(place: pathlib.Path, version: int, *, n: int, second: int, schema_version: int = 1) -> bytes:
    """A snapshot of one row, the quick way; returns its bytes."""
    moment = f"2026-01-05T00:00:{second:02d}.000000Z"
    document = {
        "schema_version": schema_version, "bandit_id": "_stream", "version": version, "final": False,
        "published_at": moment, "watermark": moment, "event_time_lag": 0.0,
        "counters": dict.fromkeys((*OUTCOMES, "conflicting_duplicates", "segments_over_limit"), 0),
        "arms": [{"segment": "*", "arm_id": "a", "arm_generation": 1, "n": n}],
    }  # fmt: skip
    data = json.dumps(document).encode()
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{version}.json").write_bytes(data)
    pointer = {"version": version, "sha256": hashlib.sha256(data).hexdigest()}
    (place / "LATEST").write_text(json.dumps(pointer))
    return data
