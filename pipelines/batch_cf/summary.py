"""What a person reads when a run has ended."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from pipelines.batch_cf.run import Outcome

__all__ = ["show"]

_LINES = (
    ("rows read", "rows_read"),
    ("rows rejected", "rows_rejected"),
    ("rows filtered", "rows_filtered"),
    ("users", "users"),
    ("items", "items"),
    ("interactions", "interactions"),
    ("item pairs scored", "pairs_scored"),
    ("neighbors written", "neighbors"),
)


def show(outcome: Outcome, output: str) -> str:
    """Print the table of counts and times to stdout; returns the closing sentence."""
    record = outcome.record
    if outcome.reused:
        return f"{output}: already done by run {record.run_id}, same options and inputs; --overwrite repeats it"
    table = Table(title=f"batch_cf {record.run_id}", title_justify="left", show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    for label, name in _LINES:
        table.add_row(label, f"{record.counters[name]:,}")
        if name == "rows_filtered" and not any(note.startswith("added to") for note in record.notes):
            kept = record.counters["rows_read"] - record.counters["rows_rejected"] - record.counters["rows_filtered"]
            table.add_row("repeats, users limited", f"{max(0, kept - record.counters['interactions']):,}")
    table.add_section()
    for stage, seconds in record.timings.items():
        table.add_row(f"time: {stage}", f"{seconds:,.2f} s")
    table.add_section()
    for note in record.notes:
        table.add_row("note", note)
    Console().print(table)
    if record.counters["rows_rejected"]:
        where = f"; {record.counters['rows_rejected']:,} bad rows are in {output}/dead_letters"
    else:
        where = ""
    published = f"; the model is published as version {outcome.version}" if outcome.version else ""
    return f"{output}: done, neighbors/, items.parquet and model/ are there{published}{where}"
