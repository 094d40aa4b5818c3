"""Start the processes of `worker`, let each run once, and end them."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["ContenderFailed", "Job", "Worker"]

ROOT = Path(__file__).resolve().parents[2]


class ContenderFailed(Exception):
    """A contender's process ended before it answered; the message holds the last it wrote."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What a process runs, as often as it is asked to. flags: further flags of the pipeline."""

    contender: str
    data: str
    user_column: str
    item_column: str
    top_k: int
    threads: int
    output: str
    flags: tuple[str, ...] = ()


class Worker:
    """A process that has imported all it needs. import_s: how long that took. start_s: from start to ready.

    Several may be alive at once; one that is not asked to run waits and takes no processor time.
    """

    def __init__(self, job: Job, numba_cache: str | None = None) -> None:
        threads = str(job.threads)
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "OPENBLAS_NUM_THREADS": "1",  # implicit asks for it
            "POLARS_MAX_THREADS": threads,
            "PYTHONWARNINGS": "ignore",
        }
        if numba_cache is not None:
            environment["NUMBA_CACHE_DIR"] = numba_cache
        self._log = Path(f"{job.output}.log")
        started = time.perf_counter()
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.cf.worker", json.dumps(dataclasses.asdict(job))],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.import_s = float(self._read()["import_s"])
        self.start_s = time.perf_counter() - started

    def run(self) -> dict[str, Any]:
        """Run once. whole_s, cpu_s, peak_bytes (of the process so far), and what the contender adds."""
        assert self._process.stdin is not None
        print("run", file=self._process.stdin, flush=True)
        return self._read()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        if not self._process.stdin.closed:
            self._process.stdin.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            last = self._log.read_text().strip().splitlines()[-1:] or ["it wrote nothing"]
            raise ContenderFailed(f"ended with code {code}: {last[0]} (all of it: {self._log})")
        answer: dict[str, Any] = json.loads(line)
        return answer
