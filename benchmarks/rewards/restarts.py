"""How long is the stream away when it is killed and started again, and does that grow with what it has read?

A log with --state is read to its end, as fast as it goes, and the run is killed; the same command is started again and
watched until its first snapshot of that start.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.rewards.job import Job, command, wait_for
from benchmarks.rewards.worlds import differences, generate
from serving_client.contracts.times import parse_time

__all__ = ["Restart", "metric", "run"]

_EVENTS_PER_S = 1_000


@dataclasses.dataclass(frozen=True)
class Restart:
    """events: read before the kill. fresh_s: from the start of the process to its first snapshot. records_reread."""

    events: int
    files: int
    state_bytes: int
    fresh_s: float
    records_reread: int
    wrong: list[str]


def run(work: Path, events: int) -> Restart:
    """Read a log of so many events at 1,000 a second of event time, kill, start again."""
    world = work / f"restart-{events}"
    described = generate(world, round(events / 1.1), _EVENTS_PER_S, "--files_every=10s")
    live = work / "restarted"
    shutil.rmtree(live, ignore_errors=True)
    live.mkdir(parents=True)
    for source in ("decisions", "rewards"):
        (live / source).symlink_to(world / source)
    flags = (f"--state={live}/state", "--publish_interval=2s", f"--metrics_file={live}/metrics.prom")
    arguments = command(live, world / "bandits.yaml", *flags)
    lines = sum(described["lines"].values())
    with Job(arguments, work / "restart.log") as job:
        wait_for("the end of the log", lambda: _read(live) >= lines, 600, job)
        time.sleep(15)  # a checkpoint and a snapshot of the end
        job.kill()
    before = _published(live)
    with Job(arguments, work / "restart.log") as job:
        wait_for("a fresh snapshot", lambda: _published(live) > before and _age_s(live) < 5, 300, job)
        fresh_s = _published_s(live) - job.started_s
        time.sleep(3)
        reread = _read(live)
        job.kill()
    with Job([*arguments, "--stop_when_idle=3s"], work / "restart.log") as job:
        job.wait(120)
    return Restart(
        events=lines,
        files=sum(len(list((world / source).iterdir())) for source in ("decisions", "rewards")),
        state_bytes=max(path.stat().st_size for path in (live / "state").glob("checkpoint-*")),
        fresh_s=fresh_s,
        records_reread=reread,
        wrong=differences(world, live / "snapshots"),
    )


def _read(live: Path) -> int:
    return metric(live, "recbeam_reward_stream_records_read_total")


def metric(live: Path, name: str) -> int:
    """What LIVE/metrics.prom says, 0 before there is one."""
    try:
        text = (live / "metrics.prom").read_text()
    except OSError:
        return 0
    return sum(int(float(line.split()[-1])) for line in text.splitlines() if line.startswith(name + " "))


def _published(live: Path) -> int:
    try:
        return int(json.loads((live / "snapshots/home_row/LATEST").read_bytes())["version"])
    except OSError:
        return 0


def _document(live: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((live / f"snapshots/home_row/{_published(live)}.json").read_bytes())
    return document


def _published_s(live: Path) -> float:
    return parse_time(_document(live)["published_at"]) / 1e6


def _age_s(live: Path) -> float:
    return time.time() - _published_s(live)
