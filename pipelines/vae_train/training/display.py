"""Show the progress of training on the terminal.

A bar shows epoch, loss, KL, beta, validation score, best score and time left. If stderr is not a terminal, nothing is
shown. No other live display may be open at the same time.
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
"""Width of the full line in columns. A narrower terminal shows only epoch, bar, loss, best score and time left."""


class Display(Protocol):
    """The progress events of the training loop."""

    def plan(self, epochs: int, steps_per_epoch: int, done_steps: int) -> None:
        """Report the plan.

        Args:
            epochs: Planned epochs.
            steps_per_epoch: Steps of an epoch.
            done_steps: Steps that an earlier run completed.
        """

    def step(self, epoch: int, phase: str, loss: float, kl: float, beta: float) -> None:
        """Report a completed step.

        Args:
            epoch: Current epoch, from 1.
            phase: Phase of the step.
            loss: Mean loss per user since the epoch began.
            kl: Mean KL per user since the epoch began.
            beta: Weight of the KL term.
        """

    def validated(self, score: float, best: float, best_epoch: int) -> None:
        """Report the validation of an epoch.

        Args:
            score: ndcg@100 of the epoch.
            best: Best ndcg@100 so far.
            best_epoch: Epoch of the best score.
        """


class Silent:
    """A display that shows nothing."""

    def plan(self, epochs: int, steps_per_epoch: int, done_steps: int) -> None:
        """Do nothing."""

    def step(self, epoch: int, phase: str, loss: float, kl: float, beta: float) -> None:
        """Do nothing."""

    def validated(self, score: float, best: float, best_epoch: int) -> None:
        """Do nothing."""


@contextlib.contextmanager
def open_display(title: str) -> Iterator[Display]:
    """Open a display on stderr while the block runs. Return Silent if stderr is not a terminal."""
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
    wide = console.width >= WIDE  # rich shortens all columns of a line that is too long, first the epoch and the bar
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
    """One bar for all steps of the plan."""

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
