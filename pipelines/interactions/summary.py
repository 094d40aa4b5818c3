"""Print the summary of a run of interactions: what became of the rewards, and the times."""

from __future__ import annotations

from transforms.runs.run import RunResult
from transforms.runs.summary import closing_sentence, print_summary

__all__ = ["show"]

_LINES = (
    ("lines read", "records_read"),
    ("malformed", "malformed"),
    ("in the future", "future"),
    ("copies", "duplicate"),
    ("rewards without a decision", "orphan"),
    ("rewards of bots", "bot"),
    ("of other kinds", "other_kinds"),
    ("of value 0 or less", "not_positive"),
    ("without a user", "no_user"),
    ("without an item", "no_item"),
    ("interactions", "interactions"),
    ("  of them of the holdback", "from_holdback"),
)


def show(result: RunResult, output: str) -> str:
    """Print the tables of counts, kinds and times to stdout.

    Args:
        result: What the run did.
        output: Folder of the output.

    Returns:
        The closing sentence.
    """
    record = result.record
    if record is not None and not result.reused:
        counts = {label: f"{record.counters[name]:,}" for label, name in _LINES}
        kinds = {f"rewards of kind {name}": f"{number:,}" for name, number in record.details["kinds"].items()}
        print_summary(record, counts, kinds)
    return closing_sentence(result, output, "interactions/")
