"""Print the summary of a run of batch_cf."""

from __future__ import annotations

from transforms.runs.run import RunResult
from transforms.runs.summary import closing_sentence, print_summary

__all__ = ["show"]

_LINES = (
    ("rows read", "rows_read"),
    ("header rows left out", "header_rows"),
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
        print_summary(record, {label: f"{record.counters[name]:,}" for label, name in _LINES})
    return closing_sentence(result, output, "neighbors/, items.parquet and model/")
