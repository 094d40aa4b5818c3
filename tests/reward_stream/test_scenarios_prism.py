"""Every scenario end to end: the command with --streaming, on Prism, while files are delivered step by step.

All scenarios of an axis share one job. A step is delivered once the one before it shows in the snapshots, so nothing
here depends on how fast the machine is, save that a source that is not silent must not be taken for one.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import pytest

from serving_client.bandits_file import parse_bytes
from serving_client.contracts.bandits import config_hash
from tests.reward_stream.scenarios import SCENARIOS
from tests.reward_stream.stages import Stage, bandits_file, check, lines_of
from tests.reward_stream.staging import HELD, SILENT, STEADY, Axis, Scenario, Settled

pytestmark = pytest.mark.needs("prism")

ROOT = pathlib.Path(__file__).resolve().parents[2]
AXES = {axis.name: axis for axis in (STEADY, SILENT, HELD)}
LONGEST_S = 60.0


def on(axis: Axis) -> list[Scenario]:
    return [scenario for where, scenario in SCENARIOS if where is axis]


def waits_for(job: subprocess.Popen[str], seen: Callable[[], bool], what: str) -> None:
    began = time.monotonic()
    while not seen():
        assert job.poll() is None, f"ended before {what}: {job.communicate()[1]}"
        assert time.monotonic() - began < LONGEST_S, f"no sign of {what}"
        time.sleep(0.05)


def play(stage: Stage, axis: Axis) -> str:
    """One job from its first step to its end; returns what it said last."""
    scenarios = on(axis)
    stage.bandits.write_bytes(bandits_file(scenarios, 0))
    command = [
        sys.executable, "-m", "pipelines.reward_stream", "--streaming", f"--bandits={stage.bandits}",
        f"--decisions={stage.folder}/decisions/*.jsonl", f"--rewards={stage.folder}/rewards/*.jsonl",
        f"--snapshots={stage.folder}/snapshots", f"--dead_letters={stage.folder}/letters",
        "--publish_interval=0s", "--heartbeat=0s", "--poll_interval=100ms", "--bandits_poll=200ms",
        "--stop_when_idle=20s", *(f"--{name}={text}" for name, text in axis.settings.items()),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, text=True, stderr=subprocess.PIPE, env=environment) as job:
        try:
            delivered(job, stage, axis, scenarios)
            _, said = job.communicate(timeout=LONGEST_S)
        finally:
            if job.poll() is None:
                job.kill()
    assert job.returncode == 0, said
    return said.splitlines()[-1]


def delivered(job: subprocess.Popen[str], stage: Stage, axis: Axis, scenarios: Sequence[Scenario]) -> None:
    for number, step in enumerate(axis.steps):
        if number:
            time.sleep(step.pause_s - 1.0)  # how long a source is silent is part of the scenario
        if any(number in scenario.changes for scenario in scenarios):
            data = bandits_file(scenarios, number)
            hashes = {name: config_hash(each) for name, each in parse_bytes(data, "test").bandits.items()}
            stage.write(stage.bandits, data)
            waits_for(job, lambda wanted=hashes: configured(stage) == wanted, f"the bandits file of step {number}")
        stage.deliver(number, lines_of(axis, scenarios, number))
        waits_for(job, lambda over=step.over: shows(stage, over), f"step {number}")


def shows(stage: Stage, over: Callable[[Settled], bool]) -> bool:
    latest = stage.latest()
    return bool(latest) and over(latest)


def configured(stage: Stage) -> dict[str, str]:
    return {name: snapshot["config_hash"] for name, snapshot in stage.latest().items() if "config_hash" in snapshot}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Stage, str]]:
    """All jobs, side by side, since they mostly wait: by axis the folder and the closing sentence."""
    stages = {name: Stage(tmp_path_factory.mktemp(name) / "stage") for name in AXES}
    with contextlib.ExitStack() as held:
        pool = held.enter_context(concurrent.futures.ThreadPoolExecutor(len(AXES)))
        jobs = {name: pool.submit(play, stages[name], axis) for name, axis in AXES.items()}
        return {name: (stages[name], job.result()) for name, job in jobs.items()}


@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
def test_all_rules_hold_end_to_end(played: dict[str, tuple[Stage, str]], axis: Axis) -> None:
    stage, said = played[axis.name]
    check(stage, axis, on(axis))
    assert said.startswith(f"done: {stage.lines} records read, {len(stage.letters())} dead letters")


def test_when_all_sources_are_silent_the_watermark_stands_still(played: dict[str, tuple[Stage, str]]) -> None:
    """Both are idle after 1 s, the run ends after 20 s: those of 99 and 100 do not mature before it does."""
    versions = played[SILENT.name][0].settled()
    assert [version["clock"]["final"] for version in versions].count(True) == 1
    assert {row["pending"] for row in versions[-2]["clock"]["arms"]} == {2}
    assert versions[-2]["clock"]["watermark"] == versions[-3]["clock"]["watermark"]
