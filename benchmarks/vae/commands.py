"""Run one of our commands in its own process, as a user would, and measure its time and memory."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Ran", "run"]

ROOT = Path(__file__).resolve().parents[2]

# VmHWM is the largest resident set of this process; ru_maxrss would be the parent's where that was larger.
_LAUNCH = """
import importlib, json, sys
code = importlib.import_module(sys.argv[1]).main(sys.argv[3:])
status = open("/proc/self/status").read()
peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
open(sys.argv[2], "w").write(json.dumps({"code": code, "peak_bytes": peak}))
sys.exit(code)
"""


@dataclasses.dataclass(frozen=True)
class Ran:
    """seconds: from start to exit, imports included. peak_bytes: largest resident set."""

    seconds: float
    peak_bytes: int


def run(module: str, arguments: Sequence[str], note: Path) -> Ran:
    """`python -m module arguments`, output to `note`.log. Raises RuntimeError with the end of that if it fails."""
    log = note.with_suffix(".log")
    started = time.perf_counter()
    with open(log, "wb") as file:
        command = [sys.executable, "-c", _LAUNCH, f"{module}.__main__", str(note), *arguments]
        code = subprocess.run(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    seconds = time.perf_counter() - started
    if code:
        raise RuntimeError(f"python -m {module} {' '.join(arguments)} ended with {code}:\n{log.read_text()[-2000:]}")
    return Ran(seconds, json.loads(note.read_text())["peak_bytes"])
