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
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rewards import dictionary_join
from benchmarks.rewards.worlds import differences, generate, latest

__all__ = ["Timed", "run"]


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
    from transforms import bandits_file

    imported_s = time.perf_counter() - began
    small = work / "bounded-warm"
    generate(small, 5_000, 1_000)
    warm_s = _ours(main, small, work / "warm")
    timed = []
    for size in (decisions, peer_decisions):
        world = work / f"bounded-{size}"
        lines = sum(generate(world, size, 40_000)["lines"].values())
        seconds = [_ours(main, world, work / "bounded") for _ in range(repeats)]
        timed.append(Timed(f"recbeam, {size:,} decisions", lines, seconds, differences(world, work / "bounded")))
    world = work / f"bounded-{peer_decisions}"
    bandit = bandits_file.read(str(world / "bandits.yaml"))[1].bandits["home_row"]
    began = time.perf_counter()
    rows = dictionary_join.run(f"{world}/decisions/*.jsonl", f"{world}/rewards/*.jsonl", bandit)
    seconds = [time.perf_counter() - began]
    ours = {
        (row["segment"], row["arm_id"], row["arm_generation"]): (row["n"], row["sum_r"])
        for row in latest(work / "bounded", "home_row")["arms"]
        if row["segment"] != "*" and row["n"]
    }
    wrong = [] if rows == ours else [f"n or sum_r: {sorted(set(rows.items()) ^ set(ours.items()))[:2]}"]
    timed.append(Timed(f"an element per event, {peer_decisions:,} decisions", timed[-1].events, seconds, wrong))
    return imported_s, warm_s, timed


def _ours(main: Sequence[object], world: Path, snapshots: Path) -> float:
    shutil.rmtree(snapshots, ignore_errors=True)
    arguments = [
        f"--bandits={world}/bandits.yaml", f"--decisions={world}/decisions/*.jsonl",
        f"--rewards={world}/rewards/*.jsonl", f"--snapshots={snapshots}", f"--dead_letters={snapshots}-dead",
    ]  # fmt: skip
    said = io.StringIO()
    began = time.perf_counter()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        code = main(arguments)  # type: ignore[operator]
    if code:
        raise RuntimeError(f"exit code {code}: {said.getvalue()[-500:]}")
    return time.perf_counter() - began
