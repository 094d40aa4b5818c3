"""Print the results of a run on the terminal."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from pipelines.evaluate.dataset import Counts
from pipelines.evaluate.split_files import SplitCounts
from pipelines.evaluate.summary import Evaluation, ModelResult
from pipelines.evaluate.sums import Moments

__all__ = ["print_evaluation", "print_split", "ranked"]

WIDE = 118
"""Columns of a terminal that show the whole table with names of a usual length."""


def print_split(counts: SplitCounts, unused: int, rejected: int, future: int, output: str) -> None:
    """Print the counts of a split, one line per number."""
    table = Table(title=f"split in {output}", show_header=False, title_justify="left")
    table.add_column(justify="left")
    table.add_column(justify="right")
    rows = {
        "train rows": counts.train_rows,
        "train users": counts.train_users,
        "holdout users": counts.holdout_users,
        "  of them without a target": counts.users_empty_holdout,
        "given rows (history)": counts.given_rows,
        "target rows (to find)": counts.target_rows,
        "holdout rows of weight 0, left out": counts.zero_weight,
        "rows in neither (later than the cut)": unused,
        "rows rejected": rejected,
        "  of them in the future": future,
    }
    for name, value in rows.items():
        table.add_row(name, f"{value:,}")
    _console().print(table)


def print_evaluation(evaluation: Evaluation) -> None:
    """Print models by quality with the baselines among them, then notes and gates.

    A narrow terminal gets fewer columns, and no column is cut.
    """
    console = _console()
    low, high = evaluation.ks[0], evaluation.ks[-1]
    wide = console.width >= WIDE
    shown = list(dict.fromkeys([f"recall@{low}", f"ndcg@{low}", f"ndcg@{high}", f"map@{high}"]))
    if not wide:
        shown = list(dict.fromkeys([f"recall@{low}", f"ndcg@{low}", f"ndcg@{high}"]))
    counts = evaluation.counts
    table = Table(
        title=f"{counts.users_evaluated:,} users, {counts.targets:,} held-out items, {counts.train_items:,} items in "
        f"train; mean ± standard error{_left_out(counts)}",
        title_justify="left",
    )
    table.add_column("model", no_wrap=True)
    for name in [*shown, "coverage", *["empty"] * wide]:
        table.add_column(name, justify="right", no_wrap=True)
    for model in ranked(evaluation):
        cells = [_short(model.metrics[name]) for name in shown]
        cells += [f"{model.coverage[high]:.1%}"] + [f"{model.metrics[f'list_shortfall@{high}'].mean:.1%}"] * wide
        table.add_row(model.name, *cells, style=None if model.kind == "baseline" else "bold")
    console.print(table)
    if wide:
        console.print(f"recall, ndcg and map divide by min(k, held out); coverage and empty places at {high}")
    else:
        console.print(f"recall and ndcg divide by min(k, held out), coverage at {high}; more columns in the report")
    for note in evaluation.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    first_refused = next((verdict for verdict in evaluation.verdicts if not verdict.passed), None)
    for verdict in evaluation.verdicts:
        if verdict is first_refused:  # the closing sentence of the command states it
            continue
        word = "[green]passed[/green]" if verdict.passed else "[red]refused[/red]"
        console.print(f"gate {word}: ", end="", highlight=False)
        console.print(verdict.sentence(), markup=False, highlight=False)


def ranked(evaluation: Evaluation) -> list[ModelResult]:
    """Return the models with the best ndcg at the largest k first."""
    column = f"ndcg@{evaluation.ks[-1]}"
    return sorted(evaluation.models, key=lambda model: -model.metrics[column].mean)


def _left_out(counts: Counts) -> str:
    """Return what the numbers of users and held-out items do not contain, as a second line of the title."""
    parts = []
    if counts.users_empty_holdout:
        parts.append(f"{counts.users_empty_holdout:,} users without an item to find")
    if counts.targets_in_history:
        parts.append(f"{counts.targets_in_history:,} held-out items that the history already holds")
    return f"\nleft out: {' and '.join(parts)}" if parts else ""


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 120)  # a pipe has no width; 80 would cut the table


def _short(value: Moments) -> str:
    return f"{value.mean:.4f} ±{value.standard_error:.4f}".replace("±0.", "±.")
