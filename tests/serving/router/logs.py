"""What the tests of log files share: a clock, reading files back, and programs in a process of their own."""

from __future__ import annotations

import pathlib
import subprocess
import sys


class Clock:
    def __init__(self) -> None:
        self.us = 1_764_000_000_000_001  # 2025-11-24T16:00:00.000001Z

    def __call__(self) -> int:
        return self.us


def files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(folder.glob("*.jsonl"), key=lambda path: (path.stat().st_mtime_ns, path.name))


def lines_of(folder: pathlib.Path) -> list[bytes]:
    """All lines of all files. Each file ends with a whole line."""
    texts = [path.read_bytes() for path in files(folder)]
    assert all(text.endswith(b"\n") for text in texts if text)
    return [line for text in texts for line in text.splitlines()]


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [b"%d\n" % number for number in range(first, first + count)]


def run(code: str, folder: pathlib.Path, *before: str) -> str:
    """Run a program in a process of its own, and return what it printed."""
    command = [*before, sys.executable, "-c", code, str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
