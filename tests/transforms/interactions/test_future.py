"""Rows later than --as_of are dead letters with the reason `future`, in every format, and no reason to refuse a run."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.dead_letters import DeadLetter
from transforms.errors import BadInput
from transforms.interactions.files import InputFile
from transforms.interactions.format import InteractionFormat
from transforms.interactions.read import WorkUnit, read_unit
from transforms.interactions.reports import FileReport, check_reports, future_warning
from transforms.interactions.times import MAX_US, MIN_US, parse_time, rfc3339

AS_OF = "2026-11-30T12:00:00.000000Z"
AS_OF_US = parse_time(AS_OF, "s")


def read(path: Path, **format: Any) -> tuple[list[str], list[DeadLetter], FileReport]:
    """Return the items that were kept, the dead letters, and the report."""
    unit = WorkUnit(InputFile(str(path), path.stat().st_size))
    *outputs, report = read_unit(unit, InteractionFormat(**{"as_of_us": AS_OF_US, **format}))
    blocks = [output for output in outputs if isinstance(output, pa.RecordBatch)]
    letters = [output for output in outputs if isinstance(output, DeadLetter)]
    return [item for block in blocks for item in block["item_id"].to_pylist()], letters, report


def write(folder: Path, kind: str) -> Path:
    """Write a time at the limit, a microsecond later, and far later."""
    times = [AS_OF, "2026-11-30T12:00:00.000001Z", "2999-12-31T00:00:00Z"]
    if kind == "csv":
        text = "user_id,item_id,timestamp\n" + "".join(f"u,i{n},{time}\n" for n, time in enumerate(times))
    else:
        text = "".join(f'{{"user_id":"u","item_id":"i{n}","timestamp":"{time}"}}\n' for n, time in enumerate(times))
    if kind == "parquet":
        moments = [datetime.datetime.fromisoformat(time) for time in times]
        table = {"user_id": ["u"] * 3, "item_id": ["i0", "i1", "i2"], "timestamp": moments}
        pq.write_table(pa.table(table), folder / kind)
    else:
        (folder / kind).write_text(text)
    return folder / kind


@pytest.mark.parametrize(("kind", "first"), [("csv", 3), ("jsonl", 2), ("parquet", 2)])
def test_a_later_time_is_a_dead_letter_whose_reason_starts_with_future(kind: str, first: int, tmp_path: Path) -> None:
    items, letters, report = read(write(tmp_path, kind))
    assert items == ["i0"]
    assert [letter.position for letter in letters] == [first, first + 1]
    for letter in letters:
        assert letter.reason.startswith("future: timestamp ")
        assert letter.reason.endswith(f" is later than --as_of={AS_OF}")
    assert "2999-12-31" in letters[1].reason and b"2999-12-31" in letters[1].original
    assert (report.rows_read, report.rows_rejected, report.rows_future, report.rows_filtered) == (3, 2, 2, 0)


def test_without_as_of_every_time_is_believed(tmp_path: Path) -> None:
    items, letters, report = read(write(tmp_path, "csv"), as_of_us=None)
    assert (items, letters, report.rows_future) == (["i0", "i1", "i2"], [], 0)


def test_until_filters_before_a_row_can_be_future(tmp_path: Path) -> None:
    items, letters, report = read(write(tmp_path, "csv"), until_us=AS_OF_US + 1)
    assert items == ["i0"] and [letter.position for letter in letters] == [3]
    assert (report.rows_future, report.rows_filtered) == (1, 1)


def test_a_row_with_another_fault_is_not_future(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("user_id,item_id,weight,timestamp\nu,a,x,2999-01-01T00:00:00Z\nu,b,1,9e10\n")
    items, letters, report = read(tmp_path / "log")
    assert items == [] and [letter.reason for letter in letters] == [
        'weight "x" is not a number',
        f'future: timestamp "9e10" is later than --as_of={AS_OF}',
    ]
    assert (report.rows_rejected, report.rows_future) == (2, 1)


def test_future_rows_do_not_count_as_bad_rows() -> None:
    reports = [FileReport("a", rows_read=100, rows_rejected=51, rows_future=50), FileReport("b", rows_read=100)]
    check_reports(reports, 0.01)
    with pytest.raises(BadInput, match=r"^a: 1 bad rows here, 1 of 200 in all"):
        check_reports(reports, 0.004)


def test_nothing_but_future_rows_is_bad_input() -> None:
    report = FileReport("a", rows_read=10, rows_rejected=7, rows_future=6, rows_filtered=3)
    with pytest.raises(BadInput, match=r"^a: 6 of 10 rows are later than --as_of and no other is left; .*unit"):
        check_reports([report], 0.0)


def test_more_than_one_in_a_hundred_is_worth_a_warning() -> None:
    assert future_warning([FileReport("a", rows_read=100, rows_rejected=1, rows_future=1)], AS_OF) is None
    reports = [
        FileReport("a", rows_read=1000, rows_rejected=1, rows_future=1),
        FileReport("b", rows_read=1000, rows_rejected=20, rows_future=20),
    ]
    assert future_warning(reports, AS_OF) == (
        f"b: 20 of the rows here, 21 of 2,000 in all, are later than --as_of={AS_OF} and are dead letters; if the "
        "times have another unit, pass --timestamp_unit"
    )


@given(time_us=st.integers(MIN_US, MAX_US))
def test_a_formatted_time_is_parsed_to_itself(time_us: int) -> None:
    assert parse_time(rfc3339(time_us), "s") == time_us
