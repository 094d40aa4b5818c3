"""Print the results of a run on the terminal."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from pipelines.off_policy.intervals import Interval
from pipelines.off_policy.selection import LEFT_OUT
from pipelines.off_policy.summary import Evaluation

__all__ = ["LABELS", "left_out", "print_evaluation"]

_LEFT_OUT = {
    "malformed": "lines that cannot be parsed, see dead_letters",
    "future": "records whose time is after their arrival, see dead_letters",
    **LEFT_OUT,
    "orphan": "rewards without a decision in the log",
}

LABELS = {"ips": "IPS", "snips": "SNIPS", "dr": "doubly robust", "switch_dr": "switch-DR"}


def print_evaluation(result: Evaluation) -> None:
    """Print the estimates, the support, and what to do with the policy."""
    console = Console(width=None if sys.stdout.isatty() else 120)  # a pipe has no width; 80 would cut the table
    found = result.found
    clusters = "users" if result.by_user else "decisions"
    table = Table(
        title=f"{result.policy} on {result.decisions:,} decisions of {result.bandit_id}; reward per decision, "
        f"95% intervals by resampling {clusters}",
        title_justify="left",
    )
    table.add_column("", no_wrap=True)
    for name in ("estimate", "interval", "minus the log", "interval", *["Bernstein"] * (not result.by_user)):
        table.add_column(name, justify="right", no_wrap=True)
    logged = found.logged
    table.add_row("the log", f"{logged.value:.5f}", _shown(logged.interval), "", "", *_shown_if(logged.bernstein))
    for each in found.estimates:
        difference = found.differences[each.name]
        table.add_row(
            LABELS[each.name],
            f"{each.value:.5f}",
            _shown(each.interval),
            f"{difference.value:+.5f}",
            _shown(difference.interval, "+"),
            *_shown_if(each.bernstein),
        )
    console.print(table)
    console.print(
        f"effective sample size {found.ess:,.0f} {clusters}; weights average {found.mean_weight:.3f}, largest "
        f"{result.most_weight:.3g}; {result.unsupported_share:.2%} of the policy's mass without support",
        highlight=False,
    )
    for sentence in [*left_out(result), *(f"note: {note}" for note in result.notes)]:
        console.print(sentence, markup=False, highlight=False)
    if not result.refused:  # the closing sentence of the command states a refusal
        console.print(result.promote.sentence, markup=False, highlight=False)


def left_out(result: Evaluation) -> list[str]:
    """Return which decisions the estimates leave out, one sentence per reason."""
    return [f"left out: {result.counts[name]:,} {about}" for name, about in _LEFT_OUT.items() if result.counts[name]]


def _shown(interval: Interval, sign: str = "") -> str:
    return f"{interval[0]:{sign}.5f} to {interval[1]:{sign}.5f}"


def _shown_if(interval: Interval | None) -> list[str]:
    return [] if interval is None else [_shown(interval)]
