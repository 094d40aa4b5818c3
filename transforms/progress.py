"""Show the progress of a run on stderr, if its workers run in this process or on this machine's Prism.

Stages report finished units, and the display shows them during the run. On remote runners nothing is reported here. The
runner's own page shows the counters.
"""

from __future__ import annotations

import collections
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

__all__ = ["advance", "display", "expect", "reach"]

_DONE: collections.Counter[str] = collections.Counter()
_EXPECTED: dict[str, int] = {}
_LOCK = threading.Lock()
_REFRESH_S = 0.2
_LINE_S = 60.0


def advance(stage: str, units: int) -> None:
    """Add `units` finished units to `stage`."""
    with _LOCK:
        _DONE[stage] += units


def reach(stage: str, units: int) -> None:
    """Set how many units of `stage` are finished."""
    with _LOCK:
        _DONE[stage] = units


def expect(stage: str, units: int) -> None:
    """Set how many units `stage` has in total."""
    with _LOCK:
        _EXPECTED[stage] = units


@contextlib.contextmanager
def display(title: str) -> Iterator[None]:
    """Show the stages of the run on stderr while the block runs.

    A terminal shows a bar per stage. Without a terminal, a line is written every minute.
    """
    with _LOCK:
        _DONE.clear()
        _EXPECTED.clear()
    with _bars(title) if sys.stderr.isatty() else _lines(title):
        yield


@contextlib.contextmanager
def _lines(title: str) -> Iterator[None]:
    started = time.monotonic()

    def tell() -> None:
        stages = [f"{stage} {done:,}" + (f" of {units:,}" if units else "") for stage, done, units in _stages()]
        print(f"{title}: {time.monotonic() - started:.0f} s{', '.join(['', *stages])}", file=sys.stderr)

    with _every(_LINE_S, tell):
        yield


@contextlib.contextmanager
def _bars(title: str) -> Iterator[None]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<18}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bars.console.print(f"[bold]{title}[/bold]")
        tasks: dict[str, TaskID] = {}

        def refresh() -> None:
            for stage, done, units in _stages():
                if stage not in tasks:
                    tasks[stage] = bars.add_task(stage, total=None)
                bars.update(tasks[stage], completed=done, total=units)

        with _every(_REFRESH_S, refresh):
            yield
        refresh()


def _stages() -> list[tuple[str, int, int | None]]:
    """Return the stages with their finished units and all their units, None if unknown."""
    with _LOCK:
        return [(stage, done, _EXPECTED.get(stage)) for stage, done in _DONE.items()]


@contextlib.contextmanager
def _every(period_s: float, call: Callable[[], None]) -> Iterator[None]:
    """Call a function periodically in a thread while the block runs."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(period_s):
            call()

    watcher = threading.Thread(target=watch, name="progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join(timeout=1.0)
