"""How fast is a bounded run, and how much is that because its element is a block? In one process, on FnApiRunner.

A run is timed from the start of the pipeline to its last snapshot; imports, compiled kernels and the runner's own start
are timed apart, by a first run over a small log.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.rewards import dictionary_join
from benchmarks.rewards.worlds import differences, generate, latest

__all__ = ["Timed", "run"]

Main = Callable[[Sequence[str]], int]


@dataclasses.dataclass(frozen=True)
class Timed:
    """seconds: of each repetition. wrong: what differs from the truth, or from the other program."""

    name: str
    events: int
    seconds: list[float]
    wrong: list[str]


def run(work: Path, decisions: int, peer_decisions: int, repeats: int) -> tuple[float, float, list[Timed]]:
    """Seconds of imports, of the first small run, and the timings."""
    began = time.perf_counter()
    from pipelines.reward_stream import command as _command  # noqa: F401  the imports are what is timed
    from pipelines.reward_stream.__main__ import main

    imported_s = time.perf_counter() - began
    small = work / "bounded-warm"
    generate(small, 5_000, 1_000)
    warm_s = _ours(main, small, work / "warm")
    timed = [_time_ours(main, work, decisions, repeats)]
    for size, name, grouped in (
        (peer_decisions, "an element per event, keyed state", False),
        (10 * peer_decisions, "an element per event, grouped", True),
    ):
        timed += [_time_ours(main, work, size, repeats), _time_peer(work, size, name, grouped=grouped)]
    return imported_s, warm_s, timed


def _time_ours(main: Main, work: Path, size: int, repeats: int) -> Timed:
    world = work / f"bounded-{size}"
    lines = sum(generate(world, size, 40_000)["lines"].values())
    seconds = [_ours(main, world, work / "bounded") for _ in range(repeats)]
    return Timed(f"recbeam, {size:,} decisions", lines, seconds, differences(world, work / "bounded"))


def _time_peer(work: Path, size: int, name: str, *, grouped: bool) -> Timed:
    """Beside the snapshots that `_time_ours` has just published for the same log."""
    from transforms.attribution import bandits_file

    world = work / f"bounded-{size}"
    bandit = bandits_file.read(str(world / "bandits.yaml"))[1].bandits["home_row"]
    ours = {
        (row["segment"], row["arm_id"], row["arm_generation"]): (row["n"], row["sum_r"])
        for row in latest(work / "bounded", "home_row")["arms"]
        if row["segment"] != "*" and row["n"]
    }
    began = time.perf_counter()
    rows = dictionary_join.run(f"{world}/decisions/*.jsonl", f"{world}/rewards/*.jsonl", bandit, grouped=grouped)
    seconds = [time.perf_counter() - began]
    wrong = [] if rows == ours else [f"n or sum_r: {sorted(set(rows.items()) ^ set(ours.items()))[:2]}"]
    return Timed(f"{name}, {size:,}", sum(generate(world, size, 40_000)["lines"].values()), seconds, wrong)


def _ours(main: Main, world: Path, snapshots: Path) -> float:
    shutil.rmtree(snapshots, ignore_errors=True)
    arguments = [
        f"--bandits={world}/bandits.yaml", f"--decisions={world}/decisions/*.jsonl",
        f"--rewards={world}/rewards/*.jsonl", f"--snapshots={snapshots}", f"--dead_letters={snapshots}-dead",
    ]  # fmt: skip
    said = io.StringIO()
    began = time.perf_counter()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        code = main(arguments)
    if code:
        raise RuntimeError(f"exit code {code}: {said.getvalue()[-500:]}")
    return time.perf_counter() - began
