"""Print the summary of a run of batch_cf: the candidates of --similarity=auto, the counts and the times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.batch_cf.similarities import Parameters
from transforms.runs.run import RunResult
from transforms.runs.summary import closing_sentence, print_summary

__all__ = ["show", "show_choice"]

_LINES = (
    ("rows read", "rows_read"),
    ("repeated header rows", "header_rows"),
    ("rows rejected", "rows_rejected"),
    ("  of them in the future", "rows_future"),
    ("rows filtered", "rows_filtered"),
    ("repeats", "repeats"),
    ("of weight 0", "zero_weight"),
    ("decayed to nothing", "decayed"),
    ("of users past the limits", "of_limited_users"),
    ("users", "users"),
    ("items", "items"),
    ("interactions", "interactions"),
    ("item pairs scored", "pairs_scored"),
    ("neighbors written", "neighbors"),
)


def show(result: RunResult, output: str) -> str:
    """Print the table of counts and times to stdout.

    Args:
        result: What the run did.
        output: Folder of the output.

    Returns:
        The closing sentence.
    """
    record = result.record
    if record is not None and not result.reused:
        show_choice(record.details["choice"])
        print_summary(record, {label: f"{record.counters[name]:,}" for label, name in _LINES})
    return closing_sentence(result, output, "neighbors/, items.parquet and model/")


def show_choice(choice: Mapping[str, Any]) -> None:
    """Print the candidates and the flags that repeat the choice, or nothing if flags made the choice."""
    console = Console()
    if choice["origin"] == "flags":
        return
    if "candidates" in choice:
        console.print(_table_of_candidates(choice))
    origin = "this choice" if choice["origin"] == "validation" else f"the choice of {choice['origin']}"
    console.print(f"flags that repeat {origin}:\n  {choice['flags']}", highlight=False, soft_wrap=True)


def _table_of_candidates(choice: Mapping[str, Any]) -> Table:
    """Return a row for each measure with its parameters, and a column for each top_k and use of weights."""
    sample = choice["sample"]
    table = Table(
        title=f"similarity: NDCG@20 on held-out items of {sample['validation_users']:,} users "
        f"({sample['share']:.0%} of the log)",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    scores: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}
    for row in choice["candidates"]:
        values = dict(flag.removeprefix("--").split("=", 1) for flag in row["flags"].split())
        name, top_k, weights = values.pop("similarity"), values.pop("top_k"), values.pop("weights", "use")
        set_ones = [
            f"{flag}\N{NO-BREAK SPACE}{float(value):g}"
            for flag, value in values.items()
            if float(value) != _default(flag)
        ]
        column = f"K={top_k}" + ("" if weights == "use" else "\nno weights")
        columns[column] = None
        mark = " *" if row["flags"] == choice["flags"] else "  "
        cells = scores.setdefault(f"{name}: {', '.join(set_ones)}".rstrip(": "), {})
        cells[column] = f"{row['validation_ndcg@20']:.4f}{mark}"
    table.add_column("measure: parameters that are not the default")
    for column in columns:
        table.add_column(column, justify="right")
    for measure, cells in scores.items():
        table.add_row(measure, *(cells.get(column, "") for column in columns))
    table.caption = "* chosen"
    table.caption_justify = "left"
    return table


def _default(flag: str) -> float | None:
    default: float | None = getattr(Parameters(), flag)
    return default
