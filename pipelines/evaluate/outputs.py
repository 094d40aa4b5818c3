"""One run of either command as its output folder and run.json see it: where it writes, how long its steps take."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from transforms.errors import BadInput
from transforms.runs.run_folder import RunFolder, already_done, open_folder
from transforms.runs.run_record import Artifact, RunRecord, code_version, new_run_id, parents_of, rfc3339

__all__ = ["Run"]


class Run:
    """Holds what run.json will say. clock: microseconds since 1970."""

    def __init__(
        self,
        pipeline: str,
        output: str,
        options: Mapping[str, Any],
        inputs: Sequence[Artifact],
        clock: Callable[[], int],
    ) -> None:
        self._pipeline, self._output, self._options, self._inputs = pipeline, output, options, inputs
        self._started_at, self._run_id = rfc3339(clock()), new_run_id(clock)
        self._timings: dict[str, float] = {}

    def is_done(self) -> bool:
        """Whether the output folder holds this very run already."""
        return already_done(self._output, self._pipeline, self._options, self._inputs)

    @contextlib.contextmanager
    def folder(self, overwrite: bool) -> Iterator[RunFolder]:
        """The working folder, gone after the block. An input that was refused leaves its dead letters in rejected/."""
        with open_folder(self._output, self._run_id, overwrite) as folder:
            try:
                yield folder
            except BadInput:
                folder.keep_rejected("dead_letters")
                raise

    @contextlib.contextmanager
    def step(self, name: str, what: str) -> Iterator[None]:
        """A timed step, with a moving line on a terminal and one line when it is over."""
        started = time.perf_counter()
        with Console(stderr=True).status(what):
            yield
        self._timings[name] = time.perf_counter() - started
        print(f"{what} ({self._timings[name]:.1f} s)", file=sys.stderr)

    def commit(self, folder: RunFolder, parts: Sequence[str], counters: Mapping[str, int]) -> None:
        """Move the parts into place, run.json last."""
        record = RunRecord(
            run_id=self._run_id,
            pipeline=self._pipeline,
            code_version=code_version(),
            started_at=self._started_at,
            options=self._options,
            inputs=self._inputs,
            parents=parents_of([one.uri for one in self._inputs]),
            counters=counters,
            timings=self._timings,
        )
        folder.commit(parts, record)
