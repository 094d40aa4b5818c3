"""Show the progress of training on stderr.

On a terminal, a bar shows epoch, loss, KL, beta, validation score, best score and time left, and a second bar the
validation. No other live display may be open at the same time. Elsewhere, a line is written per epoch and per minute.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Display", "Silent", "open_display"]

_REFRESHES_PER_S = 5
_LINE_S = 60.0
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

    def resumed(self, epoch: int, step: int) -> None:
        """Report that the training continues from a checkpoint.

        Args:
            epoch: Completed epochs.
            step: Completed steps.
        """

    def validating(self, done: int, users: int) -> None:
        """Report how many of the validation users are scored in this epoch."""

    def validated(self, score: float, best: float, best_epoch: int) -> None:
        """Report the validation of an epoch.

        Args:
            score: ndcg@100 of the epoch.
            best: Best ndcg@100 so far.
            best_epoch: Epoch of the best score.
        """

    def closed(self, epoch: int) -> None:
        """Report the end of an epoch, after its validation."""


class Silent:
    """A display that shows nothing."""

    def plan(self, epochs: int, steps_per_epoch: int, done_steps: int) -> None:
        """Do nothing."""

    def step(self, epoch: int, phase: str, loss: float, kl: float, beta: float) -> None:
        """Do nothing."""

    def resumed(self, epoch: int, step: int) -> None:
        """Do nothing."""

    def validating(self, done: int, users: int) -> None:
        """Do nothing."""

    def validated(self, score: float, best: float, best_epoch: int) -> None:
        """Do nothing."""

    def closed(self, epoch: int) -> None:
        """Do nothing."""


@contextlib.contextmanager
def open_display(title: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Display]:
    """Open a display on stderr while the block runs.

    Args:
        title: Name of the training.
        clock: Returns the time in seconds.

    Yields:
        Bars on a terminal, otherwise lines.
    """
    if not sys.stderr.isatty():
        yield _Lines(title, clock)
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
    """A bar for all steps of the plan, and one for the users of a validation while it runs."""

    def __init__(self, bars: Progress, wide: bool) -> None:
        self._bars = bars
        self._wide = wide
        self._task = bars.add_task("training", total=None, figures="")
        self._validation = bars.add_task("validation", total=None, figures="", visible=False)
        self._epochs = 0
        self._score = ""

    def plan(self, epochs: int, steps_per_epoch: int, done_steps: int) -> None:
        self._epochs = epochs
        self._bars.update(self._task, total=epochs * steps_per_epoch, completed=done_steps)

    def step(self, epoch: int, phase: str, loss: float, kl: float, beta: float) -> None:
        figures = f"{phase:<7} loss {loss:.2f} KL {kl:.2f} beta {beta:.3g} " if self._wide else f"loss {loss:.2f} "
        figures += self._score
        self._bars.update(self._task, advance=1, description=f"epoch {epoch}/{self._epochs}", figures=figures)

    def resumed(self, epoch: int, step: int) -> None:
        self._bars.console.print(_resumed(epoch, step))

    def validating(self, done: int, users: int) -> None:
        self._bars.update(self._validation, completed=done, total=users, visible=True)

    def validated(self, score: float, best: float, best_epoch: int) -> None:
        newest = f"ndcg@100 {score:.4f} " if self._wide else ""
        self._score = f"{newest}best {best:.4f} (epoch {best_epoch})"

    def closed(self, epoch: int) -> None:
        self._bars.update(self._validation, visible=False)


class _Lines:
    """A line per epoch, and one a minute within a longer epoch."""

    def __init__(self, title: str, clock: Callable[[], float]) -> None:
        self._title, self._clock = title, clock
        self._epochs, self._steps_per_epoch, self._done_steps = 0, 0, 0
        self._epoch, self._loss, self._score = 0, 0.0, ""
        self._began_at = self._told_at = clock()

    def plan(self, epochs: int, steps_per_epoch: int, done_steps: int) -> None:
        self._epochs, self._steps_per_epoch, self._done_steps = epochs, steps_per_epoch, done_steps

    def resumed(self, epoch: int, step: int) -> None:
        print(f"{self._title}: {_resumed(epoch, step)}", file=sys.stderr)

    def step(self, epoch: int, phase: str, loss: float, kl: float, beta: float) -> None:
        self._epoch, self._loss = epoch, loss
        self._done_steps += 1
        if self._is_due():
            in_epoch = self._done_steps - (epoch - 1) * self._steps_per_epoch
            self._tell(f"step {in_epoch:,} of {self._steps_per_epoch:,}, loss {loss:.2f}")

    def validating(self, done: int, users: int) -> None:
        if self._is_due():
            self._tell(f"validation, {done:,} of {users:,} users")

    def validated(self, score: float, best: float, best_epoch: int) -> None:
        self._score = f", ndcg@100 {score:.4f}, best {best:.4f} (epoch {best_epoch})"

    def closed(self, epoch: int) -> None:
        self._tell(f"loss {self._loss:.2f}{self._score} ({self._clock() - self._began_at:.1f} s)")
        self._began_at = self._clock()

    def _is_due(self) -> bool:
        return self._clock() - self._told_at >= _LINE_S

    def _tell(self, text: str) -> None:
        self._told_at = self._clock()
        print(f"{self._title}: epoch {self._epoch}/{self._epochs}, {text}", file=sys.stderr)


def _resumed(epoch: int, step: int) -> str:
    return f"resumes an interrupted training after epoch {epoch}, step {step:,}"
