"""Starts the stream again and again, and kills it with -9: while it starts, publishes, saves, is refused, or anywhere.

The whole process group is killed; Prism, which runs in a session of its own, has to end by itself.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

from benchmarks.rewards.chaos.sink import Sink

__all__ = ["MODES", "Killer", "Run"]

ROOT = pathlib.Path(__file__).resolve().parents[3]
MODES = ("starting", "publishing", "checkpointing", "refusing", "anywhere")
_PATIENCE_S = 40.0  # for a publication or a checkpoint, then it is killed all the same
_REFUSED_S = 9.0  # after the kill: the next start finds a sink that refuses, and later one that does not
_GONE_S = 10.0


@dataclasses.dataclass
class Run:
    """One start; times of the clock, seconds. mode: when it was to be killed, "" for the last. left: processes."""

    mode: str
    started_at: float
    ended_at: float = 0.0
    exit_code: int | None = None
    left: int = 0
    log: str = ""


class Killer:
    """One command's runs. state: its --state, to see checkpoints come."""

    def __init__(
        self, command: list[str], work: pathlib.Path, sink: Sink, state: pathlib.Path, rng: np.random.Generator
    ) -> None:
        self.runs: list[Run] = []
        self._command, self._work, self._sink, self._state, self._rng = command, work, sink, state, rng
        (work / "tmp").mkdir(parents=True)
        self._timer: threading.Timer | None = None

    def kill_at(self, mode: str, not_before: float) -> Run:
        """Start the stream and kill it at such a moment. A run that ends before by itself has its exit code.

        not_before: of time.monotonic; one that is killed while it starts does not wait for it.
        """
        process, run = self._start(mode)
        if mode != "starting":
            self._sleep(process, not_before - time.monotonic())
        waits: dict[str, Callable[[subprocess.Popen[bytes]], None]] = {
            "starting": lambda process: self._sleep(process, self._rng.uniform(0, 6)),
            "publishing": lambda process: self._on_change(process, self._pointers, 0.05),
            "checkpointing": lambda process: self._on_change(process, self._checkpoints, 0.02),
            "refusing": self._on_refusal,
            "anywhere": lambda process: self._sleep(process, self._rng.uniform(0, 8)),
        }
        waits[mode](process)
        family = [process.pid, *_descendants(process.pid)]
        run.exit_code = process.poll()
        if run.exit_code is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        run.ended_at = time.time()
        run.left = _left(family)
        return run

    def finish(self, timeout_s: float) -> Run:
        """Start the stream and let it end by itself."""
        if self._timer is not None:
            self._timer.join()
        process, run = self._start("", "--stop_when_idle=3s")
        try:
            run.exit_code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        run.ended_at = time.time()
        return run

    def _start(self, mode: str, *more: str) -> tuple[subprocess.Popen[bytes], Run]:
        log = self._work / f"run-{len(self.runs):02d}.log"
        run = Run(mode, time.time(), log=str(log))
        self.runs.append(run)
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(self._work / "tmp")}
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.reward_stream", *self._command, *more],
                cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        return process, run

    def _sleep(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        try:
            process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return

    def _on_change(self, process: subprocess.Popen[bytes], look: Callable[[], object], within_s: float) -> None:
        """Once what is looked at changes, and a moment later."""
        was, deadline = look(), time.monotonic() + _PATIENCE_S
        while process.poll() is None and time.monotonic() < deadline and look() == was:
            time.sleep(0.001)
        self._sleep(process, self._rng.uniform(0, within_s))

    def _on_refusal(self, process: subprocess.Popen[bytes]) -> None:
        self._on_change(process, self._pointers, 0.5)
        if self._timer is not None:
            self._timer.join()
        self._sink.refuse()
        self._sleep(process, self._rng.uniform(0, 2))
        self._timer = threading.Timer(_REFUSED_S, self._sink.accept)
        self._timer.start()

    def _pointers(self) -> object:
        try:
            return [path.read_bytes() for path in sorted(self._sink.path.glob("*/LATEST"))]
        except OSError:  # refused at this moment
            return []

    def _checkpoints(self) -> object:
        return sorted(os.listdir(self._state)) if self._state.exists() else []


def _descendants(root: int) -> list[int]:
    """Processes started by one, and by those."""
    children: dict[int, list[int]] = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):  # gone meanwhile
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found, at = [root], 0
    while at < len(found):
        found += children.get(found[at], [])
        at += 1
    return found[1:]


def _left(family: list[int]) -> int:
    """How many of these processes are still there after a while."""
    deadline = time.monotonic() + _GONE_S
    while there := sum(_is_alive(pid) for pid in family):
        if time.monotonic() > deadline:
            return there
        time.sleep(0.02)
    return 0


def _is_alive(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False
