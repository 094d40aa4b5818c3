"""Print the summary of a run of vae_train."""

from __future__ import annotations

from transforms.runs.run import RunResult
from transforms.runs.summary import closing_sentence, print_summary

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


def show(result: RunResult, output: str) -> str:
    """Print the table of counts, scores and times to stdout.

    Args:
        result: What the run did.
        output: Folder of the output.

    Returns:
        The closing sentence.
    """
    record = result.record
    if record is not None and not result.reused:
        counts = {label: f"{record.counters[name]:,}" for label, name in _COUNTS if name in record.counters}
        scores = {name: f"{value:.4f}" for name, value in sorted(record.counters.items()) if "@" in name}
        print_summary(record, counts, scores)
    return closing_sentence(result, output, "examples/, training.jsonl and model/")
