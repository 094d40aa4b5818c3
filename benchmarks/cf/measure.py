"""Run the measurements: rounds of all contenders, the fixed cost, a cold run, the stages, and growth with rows."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cf import compare, inputs
from benchmarks.cf.contenders import PIPELINE, Contender
from benchmarks.cf.processes import ContenderFailed, Job, Worker

__all__ = ["Cold", "Growth", "Line", "Say", "cold_run", "fixed_cost", "grow", "run_rounds", "stages"]

Say = Callable[[str], None]

HEAD_ROWS = 1000


@dataclasses.dataclass
class Line:
    """What became of a contender. runs: what `worker` answered, the warm-up aside. problem: why no time counts."""

    contender: Contender
    import_s: float = 0.0
    warm_up: dict[str, Any] | None = None
    runs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    problem: str | None = None

    def seconds(self, *parts: str) -> list[float]:
        """Of each run, the sum of these parts (whole, cpu, read, compute, write)."""
        return [sum(run[f"{part}_s"] for part in parts) for run in self.runs]

    def median(self, *parts: str) -> float | None:
        """Median over the runs, None where no time counts or the contender has no such part."""
        if self.problem or not self.runs or any(f"{part}_s" not in self.runs[0] for part in parts):
            return None
        return statistics.median(self.seconds(*parts))

    @property
    def peak_bytes(self) -> int:
        """Of a process that has run once, as a user's does."""
        return int((self.warm_up or self.runs[0])["peak_bytes"])


@dataclasses.dataclass(frozen=True)
class Cold:
    """A first run on a machine: start_s from process start to imported, first_s the run, which compiles."""

    start_s: float
    first_s: float
    second_s: float


@dataclasses.dataclass(frozen=True)
class Growth:
    """A point of the plot. multiply_adds: sum of squared capped history lengths, as the pipeline counted them."""

    times: int
    rows: int
    multiply_adds: int
    seconds: tuple[float, ...]
    peak_bytes: int

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)


def run_rounds(
    contenders: Sequence[Contender], job: Job, work: Path, repeats: int, slow_repeats: int, say: Say
) -> list[Line]:
    """All contenders, round by round, so that a slow spell of the machine falls on all; then the check.

    A contender warms up once, untimed, unless it is slow. Every output is compared with that of the first that has one.
    """
    lines = [Line(contender) for contender in contenders]
    workers: dict[str, Worker] = {}
    try:
        for line in lines:
            name = line.contender.name
            say(f"{name}: imports" + ("" if line.contender.slow else " and warm-up"))
            try:
                workers[name] = Worker(dataclasses.replace(job, contender=name, output=str(work / name)))
                line.import_s = workers[name].import_s
                if not line.contender.slow:
                    line.warm_up = workers[name].run()
            except ContenderFailed as failure:
                line.problem = str(failure)
        for round in range(max(repeats, slow_repeats)):
            for line in lines:
                if line.problem or round >= (slow_repeats if line.contender.slow else repeats):
                    continue
                say(f"{line.contender.name}: run {round + 1}")
                try:
                    line.runs.append(workers[line.contender.name].run())
                except ContenderFailed as failure:
                    line.problem = str(failure)
    finally:
        for worker in workers.values():
            worker.close()
    whole = [line for line in lines if not line.problem]
    matrix = inputs.read_matrix(job.data, job.user_column, job.item_column)
    for line in whole[1:]:
        say(f"{line.contender.name}: check")
        found = compare.difference(work / whole[0].contender.name, work / line.contender.name, job.top_k, matrix)
        line.problem = f"differs from {whole[0].contender.name}: {found}" if found else None
    return lines


def fixed_cost(job: Job, work: Path, repeats: int, say: Say) -> list[dict[str, Any]]:
    """The same command on the first 1,000 rows, in a process of its own, after one warm-up."""
    small = work / "head.parquet"
    inputs.head(job.data, HEAD_ROWS, job.user_column, job.item_column, small)
    say(f"{PIPELINE}: fixed cost")
    with Worker(dataclasses.replace(job, contender=PIPELINE, data=str(small), output=str(work / "fixed"))) as worker:
        worker.run()
        return [worker.run() for _ in range(repeats)]


def cold_run(job: Job, work: Path, say: Say) -> Cold:
    """A fresh process that finds no compiled code: imports, then the first run, then a second beside it."""
    say(f"{PIPELINE}: cold run")
    with tempfile.TemporaryDirectory(dir=work) as cache:
        cold = dataclasses.replace(job, contender=PIPELINE, output=str(work / "cold"))
        with Worker(cold, numba_cache=cache) as worker:
            return Cold(worker.start_s, worker.run()["whole_s"], worker.run()["whole_s"])


def stages(job: Job, work: Path, repeats: int, say: Say) -> tuple[dict[str, float], dict[str, Any]]:
    """Median seconds of each stage, and what the last run said of the work."""
    say("stages")
    with Worker(dataclasses.replace(job, contender="stages", output=str(work / "stages"))) as worker:
        worker.run()
        runs = [worker.run() for _ in range(repeats)]
    return {name: statistics.median(run["stages"][name] for run in runs) for name in runs[0]["stages"]}, runs[-1]


def grow(job: Job, sizes: Sequence[tuple[int, Path]], cap: int, work: Path, repeats: int, say: Say) -> list[Growth]:
    """The pipeline with capped histories on 1, 3, … times the rows; sizes: (times, file)."""
    points = []
    for times, path in sizes:
        say(f"{PIPELINE}: x{times}")
        flags = (*job.flags, f"--max_items_per_user={cap}")
        larger = dataclasses.replace(
            job, contender=PIPELINE, data=str(path), output=str(work / f"x{times}"), flags=flags
        )
        with Worker(larger) as worker:
            warm_up = worker.run()
            seconds = tuple(worker.run()["whole_s"] for _ in range(repeats))
        counters = warm_up["counters"]
        points.append(Growth(times, counters["rows_read"], counters["pair_work"], seconds, warm_up["peak_bytes"]))
    return points
