"""Show the progress of a run on the terminal, if its workers run in this process or on this machine's Prism.

Stages report finished units, and the display shows them during the run. On remote runners nothing is reported here. The
runner's own page shows the counters.
"""

from __future__ import annotations

import collections
import contextlib
import sys
import threading
from collections.abc import Iterator

__all__ = ["advance", "display", "expect"]

_DONE: collections.Counter[str] = collections.Counter()
_EXPECTED: dict[str, int] = {}
_LOCK = threading.Lock()
_REFRESH_S = 0.2


def advance(stage: str, units: int) -> None:
    """Add `units` finished units to `stage`."""
    with _LOCK:
        _DONE[stage] += units


def expect(stage: str, units: int) -> None:
    """Set how many units `stage` has in total."""
    with _LOCK:
        _EXPECTED[stage] = units


@contextlib.contextmanager
def display(title: str) -> Iterator[None]:
    """Show the stages of the run on stderr while the block runs. Show nothing if stderr is not a terminal."""
    with _LOCK:
        _DONE.clear()
        _EXPECTED.clear()
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<18}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    stop = threading.Event()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bars.console.print(f"[bold]{title}[/bold]")
        tasks: dict[str, TaskID] = {}

        def refresh() -> None:
            with _LOCK:
                done, expected = dict(_DONE), dict(_EXPECTED)
            for stage, units in done.items():
                if stage not in tasks:
                    tasks[stage] = bars.add_task(stage, total=None)
                bars.update(tasks[stage], completed=units, total=expected.get(stage))

        def watch() -> None:
            while not stop.wait(_REFRESH_S):
                refresh()

        watcher = threading.Thread(target=watch, name="progress", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join(timeout=5 * _REFRESH_S)
            refresh()
