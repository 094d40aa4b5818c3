"""Run one contender in its own process, so that imports, compilation and peak memory are measured per contender.

`processes` starts this module. It reads a line, runs once and answers with a line of JSON. Output that the contender
prints goes to stderr.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

__all__ = ["main"]


def main(argument: str) -> None:
    """argument: the JSON of a `processes.Job`."""
    job = json.loads(argument)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints, prints to stderr
    started = time.perf_counter()
    run = _prepare(job)
    _answer(answers, {"import_s": time.perf_counter() - started, "peak_bytes": _peak_bytes()})
    for _ in sys.stdin:
        shutil.rmtree(job["output"], ignore_errors=True)
        cpu, started = time.process_time(), time.perf_counter()
        facts = run(job)
        facts["whole_s"] = time.perf_counter() - started
        facts["cpu_s"] = time.process_time() - cpu
        facts["peak_bytes"] = _peak_bytes()
        _answer(answers, facts)


def _prepare(job: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Import what the contender needs, and nothing another needs."""
    if job["contender"] == "stages":
        from benchmarks.cf.stages import time_stages

        return time_stages
    from benchmarks.cf.contenders import CONTENDERS

    contender = next(each for each in CONTENDERS if each.name == job["contender"])
    for module in contender.imports:
        importlib.import_module(module)
    compute = contender.compute
    if compute is None:
        return _run_pipeline

    def run_peer(job: dict[str, Any]) -> dict[str, Any]:
        from benchmarks.cf.inputs import read_matrix
        from pipelines.batch_cf import neighbors_file

        marks = [time.perf_counter()]
        matrix = read_matrix(job["data"], job["user_column"], job["item_column"])
        marks.append(time.perf_counter())
        neighbors = compute(matrix, job["top_k"], job["threads"])
        marks.append(time.perf_counter())
        folder = Path(job["output"]) / "neighbors"
        folder.mkdir(parents=True)
        with open(folder / neighbors_file.file_name(0, 1), "wb") as file:
            neighbors_file.write_table(neighbors_file.neighbors_table(neighbors, matrix.items), file)
        marks.append(time.perf_counter())
        return {f"{name}_s": marks[n + 1] - marks[n] for n, name in enumerate(("read", "compute", "write"))}

    return run_peer


def _run_pipeline(job: dict[str, Any]) -> dict[str, Any]:
    """The command, called in process: all it does for a user but starting Python and importing."""
    from pipelines.batch_cf.__main__ import main as command

    flags = [
        f"--interactions={job['data']}",
        f"--user_column={job['user_column']}",
        f"--item_column={job['item_column']}",
        f"--output={job['output']}",
        f"--top_k={job['top_k']}",
        f"--compute_threads={job['threads']}",
        "--similarity=cosine",
        *job["flags"],
    ]
    with contextlib.redirect_stdout(sys.stderr):
        code = command(flags)
    if code:
        raise SystemExit(f"batch_cf ended with exit code {code}: {' '.join(flags)}")
    record = json.loads((Path(job["output"]) / "run.json").read_text())
    return {"timings": record["timings"], "counters": record["counters"], "notes": record["notes"]}


def _peak_bytes() -> int:
    """Largest resident set of this process so far, imports included.

    From /proc where there is one: Linux hands a parent's ru_maxrss on to the child that it starts.
    """
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (0 if sys.platform == "darwin" else 10)


def _answer(answers: TextIO, facts: dict[str, Any]) -> None:
    print(json.dumps(facts), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
