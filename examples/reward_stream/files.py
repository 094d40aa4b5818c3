"""Write the lines of a log to files by arrival time. Each file is complete when it gets its name."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["LiveClock", "Log"]

Int64s = npt.NDArray[np.int64]


class Log:
    """One source's files: part-00000000.jsonl, …; a number is the step of time, and steps without a line have none."""

    def __init__(self, directory: pathlib.Path, began_us: int, every_us: int) -> None:
        self.lines_written = 0
        self._directory = directory
        self._began_us = began_us
        self._every_us = every_us
        self._arrivals = np.zeros(0, np.int64)
        self._lines: list[str] = []
        directory.mkdir(parents=True)

    def add(self, arrivals_us: Int64s, lines: list[str]) -> None:
        """Lines that arrive at these times, in any order."""
        self._arrivals = np.concatenate([self._arrivals, arrivals_us])
        self._lines += lines

    def files_before(self, until_us: int | None) -> list[tuple[int, str, bytes]]:
        """Files that are complete at a time (None: all that is left), and forgotten here: (end, path, content)."""
        order = np.argsort(self._arrivals, kind="stable")
        arrivals, lines = self._arrivals[order], [self._lines[at] for at in order.tolist()]
        steps = (arrivals - self._began_us) // self._every_us
        whole = len(steps)
        if until_us is not None:
            whole = int(np.searchsorted(steps, (until_us - self._began_us) // self._every_us))
        numbers, starts = np.unique(steps[:whole], return_index=True)
        ends = [*starts.tolist(), whole][1:]
        files = []
        for number, start, end in zip(numbers.tolist(), starts.tolist(), ends, strict=True):
            path = str(self._directory / f"part-{number:08d}.jsonl")
            content = "\n".join([*lines[start:end], ""]).encode()
            files.append((self._began_us + (number + 1) * self._every_us, path, content))
        self._arrivals, self._lines = arrivals[whole:], lines[whole:]
        self.lines_written += whole
        return files


class LiveClock:
    """Wall time that stands for event time: files are written when their time has come; without `live`, at once."""

    def __init__(
        self,
        began_us: int,
        live: bool,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._began_us, self._live, self._clock, self._sleep = began_us, live, clock, sleep
        self._started = clock()

    def write(self, files: list[tuple[int, str, bytes]]) -> None:
        """Write files in the order of their ends, each when its end has come, under its name once it is whole."""
        for end_us, path, content in sorted(files, key=lambda each: each[:2]):
            if self._live:
                self._sleep(max(0.0, (end_us - self._began_us) / 1e6 - (self._clock() - self._started)))
            name = pathlib.Path(path)
            unfinished = name.with_name(f".{name.name}.tmp")
            unfinished.write_bytes(content)
            os.replace(unfinished, name)
