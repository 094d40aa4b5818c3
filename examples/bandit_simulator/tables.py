"""The simulator's tables: mean regret with its standard error, beside the reference and the published figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import rich.table

from examples.bandit_simulator.cases import Case, Run

__all__ = ["Result", "case_table", "compare", "plain_table"]

Float64s = npt.NDArray[np.float64]

_FAR = 3.0
"""Combined standard errors from which a difference is more than chance."""


class Result(NamedTuple):
    """A run's regret beside the reference.

    Args:
        mean: Mean regret.
        error: Its standard error.
        difference: Difference to the reference in combined standard errors. None without a reference.
        agrees: Whether the difference is below 3 of them, or within the case's share. None without a reference.
    """

    mean: float
    error: float
    difference: float | None
    agrees: bool | None


def compare(regret: Float64s, run: Run, within: float) -> Result:
    """Return a run's mean regret, and how it differs from the reference.

    A source that gives no standard error is taken to have ours: it had as many repetitions, or more.

    Args:
        regret: Regret of each repetition.
        run: The run.
        within: Share of the reference within which a difference is accepted.
    """
    mean, error = float(regret.mean()), _standard_error(regret)
    if run.reference is None:
        return Result(mean, error, None, None)
    theirs = error if run.reference_error is None else run.reference_error
    difference = (mean - run.reference) / math.hypot(error, theirs)
    agrees = abs(difference) < _FAR or abs(mean - run.reference) <= within * run.reference
    return Result(mean, error, difference, agrees)


def case_table(case: Case, repetitions: int, results: Sequence[tuple[Run, Result]]) -> rich.table.Table:
    """Return the table of a case."""
    accepted = "below 3" + (f", or within {case.within:.0%}" if case.within else "")
    table = rich.table.Table(title=f"{case.title}; {repetitions} repetitions")
    table.add_column("policy")
    columns = ("regret", "± s.e.", "reference", "± s.e.", f"difference in s.e. ({accepted})", "published")
    for name in columns:
        table.add_column(name, justify="right")
    for run, result in results:
        table.add_row(
            run.name,
            f"{result.mean:,.1f}",
            f"{result.error:,.1f}",
            "" if run.reference is None else f"{run.reference:,g}",
            "" if run.reference_error is None else f"{run.reference_error:,.1f}",
            "" if result.difference is None else f"{result.difference:+.1f} {'' if result.agrees else '(too far)'}",
            "" if run.published is None else f"{run.published:,g}",
        )
    return table


def plain_table(title: str, columns: Iterable[str], rows: Iterable[tuple[str, Sequence[Float64s]]]) -> rich.table.Table:
    """Return a table of mean regrets ± standard errors, a row per policy and a column per environment."""
    table = rich.table.Table(title=title)
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for name, regrets in rows:
        cells = (f"{each.mean():,.1f} ± {_standard_error(each):,.1f}" for each in regrets)
        table.add_row(name, *cells)
    return table


def _standard_error(regret: Float64s) -> float:
    return float(regret.std(ddof=1) / math.sqrt(len(regret)))
