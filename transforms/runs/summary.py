"""Print the summary of a run: a table on stdout and a closing sentence."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from transforms.runs.run import RunResult
from transforms.runs.run_record import RunRecord

__all__ = ["closing_sentence", "print_summary"]


def print_summary(record: RunRecord, *sections: Mapping[str, str]) -> None:
    """Print a table of the sections, followed by the times and notes of the run, to stdout.

    Args:
        record: The content of run.json.
        sections: Values by label, a rule after each section.
    """
    table = Table(title=f"{record.pipeline} {record.run_id}", title_justify="left", show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    times = {f"time: {stage}": f"{seconds:,.2f} s" for stage, seconds in record.timings.items()}
    found = record.counters.get("catalogue_found")
    if found is not None:
        share = found / record.counters["items"]
        times = {"items found in --items": f"{found:,} ({share:.1%})", **times}
    for section in (*sections, times):
        for label, value in section.items():
            table.add_row(label, value)
        table.add_section()
    for note in record.notes:
        table.add_row("note", note)
    Console().print(table)


def closing_sentence(result: RunResult, output: str, written: str) -> str:
    """Return the last line of a run.

    Args:
        result: What the run did.
        output: Folder of the output.
        written: The parts of the output, for example `neighbors/ and model/`.

    Returns:
        One sentence that starts with the output folder.
    """
    record = result.record
    if record is None:
        return f"{output}: this worker's part is done, the chief writes the output"
    if result.reused:
        return f"{output}: already done by run {record.run_id}, same options and inputs; --overwrite repeats it"
    rejected = record.counters["rows_rejected"]
    where = f"; {rejected:,} bad rows are in {output}/dead_letters" if rejected else ""
    published = f"; the model is published as version {result.version}" if result.version else ""
    return f"{output}: done, {written} are there{published}{where}"
