"""How training goes, on the terminal: a bar with epoch, loss, KL, beta, validation score, best and time left.

Silent where stderr is no terminal. No other live display may be open meanwhile.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Display", "Silent", "open_display"]

_REFRESHES_PER_S = 5
WIDE = 150
"""Columns that the whole line takes; below, what one watches stays: epoch, bar, loss, best score, time left."""


class Display(Protocol):
    """What the loop tells while it trains."""

    def plan(self, epochs: int, steps_per_epoch: int, done_steps: int) -> None:
        """What is to be done, and how much of it an earlier run did."""

    def step(self, epoch: int, phase: str, loss: float, kl: float, beta: float) -> None:
        """One step was made. epoch from 1; loss and kl: means per user since the epoch began."""

    def validated(self, score: float, best: float, best_epoch: int) -> None:
        """An epoch was validated."""


class Silent:
    """Says nothing."""

    def plan(self, epochs: int, steps_per_epoch: int, done_steps: int) -> None:
        """Nothing."""

    def step(self, epoch: int, phase: str, loss: float, kl: float, beta: float) -> None:
        """Nothing."""

    def validated(self, score: float, best: float, best_epoch: int) -> None:
        """Nothing."""


@contextlib.contextmanager
def open_display(title: str) -> Iterator[Display]:
    """A display on stderr for as long as the block runs; Silent where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield Silent()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    wide = console.width >= WIDE  # rich shortens every column of a line that is too long, the epoch and the bar first
    columns = (
        TextColumn("{task.description}"),
        BarColumn(40 if wide else 8),
        *[MofNCompleteColumn()] * wide,
        TextColumn("{task.fields[figures]}"),
        *[TimeElapsedColumn()] * wide,
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, refresh_per_second=_REFRESHES_PER_S) as bars:
        bars.console.print(f"[bold]{title}[/bold]")
        yield _Bar(bars, wide)


class _Bar:
    """One bar over all steps of the plan."""

    def __init__(self, bars: Progress, wide: bool) -> None:
        self._bars = bars
        self._wide = wide
        self._task = bars.add_task("training", total=None, figures="")
        self._epochs = 0
        self._score = ""

    def plan(self, epochs: int, steps_per_epoch: int, done_steps: int) -> None:
        self._epochs = epochs
        self._bars.update(self._task, total=epochs * steps_per_epoch, completed=done_steps)

    def step(self, epoch: int, phase: str, loss: float, kl: float, beta: float) -> None:
        figures = f"{phase:<7} loss {loss:.2f} KL {kl:.2f} beta {beta:.3g} " if self._wide else f"loss {loss:.2f} "
        figures += self._score
        self._bars.update(self._task, advance=1, description=f"epoch {epoch}/{self._epochs}", figures=figures)

    def validated(self, score: float, best: float, best_epoch: int) -> None:
        newest = f"ndcg@100 {score:.4f} " if self._wide else ""
        self._score = f"{newest}best {best:.4f} (epoch {best_epoch})"
