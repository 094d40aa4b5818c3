"""The stream as an operator runs it: the command in a process of its own, watched from outside."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

__all__ = ["Job", "Sample", "command", "snapshots", "wait_for"]

ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Sample:
    """At a moment: resident MiB and CPU seconds so far of the Python processes and of Prism."""

    at_s: float
    python_mib: float
    prism_mib: float
    python_cpu_s: float
    prism_cpu_s: float


def command(
    work: Path, bandits: Path, *flags: str, decisions: str = "decisions/*.jsonl", rewards: str = "rewards/*.jsonl"
) -> list[str]:
    """reward-stream over the logs in WORK that two globs name, publishing to WORK/snapshots."""
    return [
        sys.executable, "-m", "pipelines.reward_stream", "--streaming",
        f"--bandits={bandits}", f"--decisions={work}/{decisions}", f"--rewards={work}/{rewards}",
        f"--snapshots={work}/snapshots", f"--dead_letters={work}/dead_letters", *flags,
    ]  # fmt: skip


class Job:
    """A running command and, each second, what it takes; a context manager that leaves nothing behind."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self.started_s = time.time()
        self.samples: list[Sample] = []
        self._log = log.open("ab")
        self._process = subprocess.Popen(
            arguments, cwd=ROOT, stdout=self._log, stderr=self._log, start_new_session=True
        )
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        self._over.set()
        self._sampler.join()
        self._log.close()

    def kill(self) -> None:
        """kill -9 of the command and all that it started."""
        for process in self._family():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=120)

    def wait(self, timeout_s: float) -> int:
        """The exit code, once it ends."""
        return self._process.wait(timeout=timeout_s)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def _family(self) -> list[psutil.Process]:
        try:
            process = psutil.Process(self._process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _sample(self) -> None:
        while not self._over.wait(1.0):
            sizes, seconds = {"python": 0.0, "prism": 0.0}, {"python": 0.0, "prism": 0.0}
            for process in self._family():
                try:
                    name = "prism" if "prism" in process.name() else "python"
                    sizes[name] += process.memory_info().rss / 2**20
                    seconds[name] += sum(process.cpu_times()[:2])
                except psutil.Error:
                    continue
            if sizes["python"]:
                self.samples.append(
                    Sample(time.time(), sizes["python"], sizes["prism"], seconds["python"], seconds["prism"])
                )


def snapshots(work: Path, bandit: str) -> list[dict[str, Any]]:
    """All versions that a bandit has, the earliest first."""
    files = sorted((work / "snapshots" / bandit).glob("*.json"), key=lambda path: int(path.stem))
    return [json.loads(path.read_bytes()) for path in files]


def wait_for(what: str, condition: Any, timeout_s: float, job: Job | None = None) -> float:
    """Wall time at which the condition held; raises TimeoutError, or RuntimeError if the job ended before."""
    end = time.monotonic() + timeout_s
    while not condition():
        if job is not None and not job.running:
            raise RuntimeError(f"the stream ended while {what} was waited for; see its log")
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.02)
    return time.time()
