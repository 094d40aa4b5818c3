"""One chaos run from a world to a verdict: feeder, watcher and killer at work on the whole command."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import yaml

from benchmarks.rewards.chaos import verdict
from benchmarks.rewards.chaos.feeder import Feeder
from benchmarks.rewards.chaos.killer import MODES, ROOT, Killer, Run
from benchmarks.rewards.chaos.sink import Sink
from benchmarks.rewards.chaos.world import CONTRADICTED, World, make_world
from examples.reward_stream.world import Knobs
from tests.oracles.oracle import comparable

__all__ = ["Chaos", "Report", "run_chaos"]

_LAST_RUN_S = 900.0
_OF_THE_FEED = 0.95  # the kills are spread over this part of it


@dataclasses.dataclass(frozen=True, slots=True)
class Chaos:
    """What is done to the stream. rate: events per second of event time; speed: seconds of that per second.

    modes: when the kills come, in this order. again: whether the command is run once more after its end.
    """

    decisions: int
    rate: float
    speed: float
    modes: tuple[str, ...]
    seed: int
    knobs: Knobs
    publish_interval: str = "1s"
    checkpoint_interval: str = "2s"
    idle_after: str = "2s"
    again: bool = False

    @classmethod
    def drawn(cls, kills: int, seed: int, **settings: Any) -> Chaos:
        """With modes in a random order, all of them as often as possible, fewer refusals."""
        rng = np.random.default_rng(seed)
        rota = [*(mode for mode in MODES if mode != "refusing"), *MODES]
        modes = [rota[at % len(rota)] for at in range(kills)] if kills >= len(rota) else list(MODES)[:kills]
        return cls(modes=tuple(rng.permutation(modes).tolist()), seed=seed, **settings)


@dataclasses.dataclass(frozen=True)
class Report:
    """What was done and found. fresh_s: by run, from its start to its first version, None where it was killed before.

    versions: seen by the watcher, by name. duration_s: of the chaos, from the first start to the last end.
    """

    world: World
    runs: list[Run]
    fresh_s: list[float | None]
    versions: Mapping[str, int]
    refusals: int
    duration_s: float
    checks: list[verdict.Check]


def run_chaos(chaos: Chaos, work: pathlib.Path) -> Report:
    """Do all of it below an empty folder, which keeps everything."""
    world = make_world(work, chaos.decisions, chaos.rate, chaos.seed, chaos.knobs)
    delivered, out = work / "delivered", work / "out"
    sink = Sink(out / "snapshots")
    rng = np.random.default_rng(chaos.seed + 2)
    killer = Killer(_command(chaos, delivered, out), work / "runs", sink, out / "state", rng)
    began = time.monotonic()
    with _watching(work, sink) as findings:
        feeder = Feeder(delivered, world.plan, chaos.speed)
        feeder.start()
        pace_s = _OF_THE_FEED * world.span_s / chaos.speed / len(chaos.modes)
        for number, mode in enumerate(chaos.modes):
            killer.kill_at(mode, began + pace_s * (number + rng.random()))
        feeder.join()  # or the last run could be idle, and end, with something still to come
        killer.finish(_LAST_RUN_S)
    duration_s = time.monotonic() - began
    snapshots = verdict.snapshots_of(sink.path)
    checks = [
        *verdict.check_runs(killer.runs),
        *verdict.check_findings(findings, len(chaos.modes)),
        *verdict.check_statistics(delivered, snapshots),
        *verdict.check_letters(out / "dead_letters", delivered, snapshots),
    ]
    if chaos.again:
        checks.append(_once_more(killer, sink, snapshots))
    seen = [each for each in findings if each["kind"] == "version"]
    return Report(
        world,
        killer.runs,
        [_fresh_s(run, seen) for run in killer.runs],
        {name: sum(each["name"] == name for each in seen) for name in sorted(snapshots)},
        sink.spells,
        duration_s,
        checks,
    )


def _command(chaos: Chaos, delivered: pathlib.Path, out: pathlib.Path) -> list[str]:
    return [
        "--streaming",
        f"--bandits={delivered}/bandits.yaml",
        f"--decisions={delivered}/decisions/*.jsonl",
        f"--rewards={delivered}/rewards/*.jsonl",
        f"--snapshots={out}/snapshots",
        f"--dead_letters={out}/dead_letters",
        f"--state={out}/state",
        f"--publish_interval={chaos.publish_interval}",
        f"--checkpoint_interval={chaos.checkpoint_interval}",
        f"--idle_after={chaos.idle_after}",
    ]


@contextlib.contextmanager
def _watching(work: pathlib.Path, sink: Sink) -> Iterator[list[dict[str, Any]]]:
    """The watcher's process while the block runs; what it found is in the list afterwards."""
    names = [*_bandit_ids(work / "generated" / "bandits.yaml"), "_stream"]
    path, findings = work / "findings.jsonl", list[dict[str, Any]]()
    command = [
        sys.executable,
        "-m",
        "benchmarks.rewards.chaos.watcher",
        str(sink.path),
        str(path),
        CONTRADICTED,
        *names,
    ]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE) as process:
        try:
            yield findings
        finally:
            process.communicate()  # the end of its input
    findings += [json.loads(line) for line in path.read_text().splitlines()]


def _bandit_ids(path: pathlib.Path) -> list[str]:
    return list(yaml.safe_load(path.read_text())["bandits"])


def _once_more(killer: Killer, sink: Sink, before: Mapping[str, Any]) -> verdict.Check:
    """The same command after the end: nothing new to read, and nothing changes."""
    run = killer.finish(_LAST_RUN_S)
    after = verdict.snapshots_of(sink.path)
    wrong = [
        f"{name}{difference}"
        for name, snapshot in before.items()
        for difference in verdict.differences(comparable(after[name]), comparable(snapshot))
    ]
    holds = not wrong and run.exit_code == 0
    return verdict.Check("one start more changes nothing", holds, "; ".join(wrong[:6]) or f"exit code {run.exit_code}")


def _fresh_s(run: Run, seen: list[dict[str, Any]]) -> float | None:
    mine = (each for each in seen if run.started_at < each["published_at"] <= run.ended_at)
    return min((each["at"] - run.started_at for each in mine), default=None)
