"""What a person reads when a run has ended."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from pipelines.vae_train.run import Outcome

__all__ = ["show"]

_COUNTS = (
    ("rows read", "rows_read"),
    ("rows rejected", "rows_rejected"),
    ("rows filtered", "rows_filtered"),
    ("interactions", "interactions"),
    ("items", "items"),
    ("users trained on", "train_users"),
    ("users that validate", "validation_users"),
    ("users that test", "test_users"),
    ("users of the refit", "refit_users"),
)


def show(outcome: Outcome, output: str) -> str:
    """Print the table of counts, scores and times to stdout; returns the closing sentence."""
    record = outcome.record
    if record is None:
        return f"{output}: this worker's part is done, the chief writes the output"
    if outcome.reused:
        return f"{output}: already done by run {record.run_id}, same options and inputs; --overwrite repeats it"
    table = Table(title=f"vae_train {record.run_id}", title_justify="left", show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    for label, name in _COUNTS:
        if name in record.counters:
            table.add_row(label, f"{record.counters[name]:,}")
    table.add_section()
    for name in sorted(name for name in record.counters if "@" in name):
        table.add_row(name, f"{record.counters[name]:.4f}")
    table.add_section()
    for stage, seconds in record.timings.items():
        table.add_row(f"time: {stage}", f"{seconds:,.2f} s")
    table.add_section()
    for note in record.notes:
        table.add_row("note", note)
    Console().print(table)
    rejected = record.counters["rows_rejected"]
    where = f"; {rejected:,} bad rows are in {output}/dead_letters" if rejected else ""
    published = f"; the model is published as version {outcome.version}" if outcome.version else ""
    return f"{output}: done, examples/, training.jsonl and model/ are there{published}{where}"
