"""Where CSV records end: equal to a scanner that looks at one byte after the other, wherever the blocks are cut."""

from __future__ import annotations

import csv
import gzip
import io
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from transforms.dead_letters import DeadLetter
from transforms.interactions import records
from transforms.interactions.csv import open_csv
from transforms.interactions.files import InputFile
from transforms.interactions.format import InteractionFormat
from transforms.interactions.read import WorkUnit, read_unit
from transforms.interactions.records import STRAY, TRAILING, read_record_blocks
from transforms.interactions.validate import validate

SMALL_LIMIT = 24
"""The limit of a record in these tests, so that short texts pass it."""


def slow_records(data: bytes, limit: int, stop: bytes = b",") -> list[tuple[bytes, str | None]]:
    """Return each record with its line end and, if it is broken, the reason: one byte at a time."""
    found: list[tuple[bytes, str | None]] = []
    start = 0
    while start < len(data):
        end, trailing = _slow_end(data, start, stop)
        line_end = data.find(b"\n", start) + 1 or len(data)
        if end is None or (end > line_end and end - start > limit):
            found.append((data[start:line_end], STRAY))
            start = line_end
        else:
            found.append((data[start:end], TRAILING if trailing else None))
            start = end
    return found


def _slow_end(data: bytes, start: int, stop: bytes) -> tuple[int | None, bool]:
    state, trailing, place = "value starts", False, start
    while place < len(data):
        byte = data[place : place + 1]
        if state == "quoted":
            if byte == b'"' and data[place + 1 : place + 2] == b'"':
                place += 1
            elif byte == b'"':
                state = "unquoted"
                after = data[place + 1 : place + 3]
                trailing |= not (after in (b"", b"\r", b"\r\n") or after[:1] in (stop, b"\n"))
        elif byte == b"\n":
            return place + 1, trailing
        elif byte == b'"' and state == "value starts":
            state = "quoted"
        else:
            state = "value starts" if byte == stop else "unquoted"
        place += 1
    return (None if state == "quoted" else len(data)), trailing


def fast_records(data: bytes, block_bytes: int, stop: str = ",") -> tuple[list[tuple[bytes, str | None]], list[int]]:
    """Return the same from the module under test, and the line number of each record."""
    found: list[tuple[bytes, str | None]] = []
    lines: list[int] = []
    for block, broken in read_record_blocks(io.BytesIO(data), stop, block_bytes):
        assert block.data, "no block is empty"
        offsets = block.offsets.tolist()
        assert offsets[0] == 0 and offsets[-1] == len(block.data) and len(offsets) == block.count() + 1
        for index in range(block.count()):
            found.append((block.data[offsets[index] : offsets[index + 1]], broken.get(index)))
            lines.append(block.position(index))
    return found, lines


soup = st.lists(st.sampled_from(['"', '"', '""', ",", "\n", "\n", "\r\n", "\r", "a", "bc", " "]), max_size=60)


@given(parts=soup, block_bytes=st.integers(1, 40), limit=st.sampled_from([6, SMALL_LIMIT, 1000]))
@example(parts=['"', *["a\n"] * 20, "b,c\n"], block_bytes=7, limit=SMALL_LIMIT)
@example(parts=["a,", *['"x\ny",'] * 9, "\n"], block_bytes=1, limit=6)
@example(parts=['"', "a\r", '"', "\r"], block_bytes=3, limit=6)
def test_records_are_those_of_a_slow_scanner_and_every_byte_is_in_one(
    parts: list[str], block_bytes: int, limit: int
) -> None:
    data = "".join(parts).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "RECORD_BYTES_LIMIT", limit)
        found, lines = fast_records(data, block_bytes)
    assert found == slow_records(data, limit)
    assert b"".join(record for record, _ in found) == data
    ends = [0, *(record.count(b"\n") for record, _ in found)]
    assert lines == [1 + sum(ends[: index + 1]) for index in range(len(found))]


values = st.text(st.sampled_from(list('ab",;\n\r 7é')), max_size=8)
ids = st.text(st.sampled_from(list('ab",; 7é')), min_size=1, max_size=6)


@given(
    rows=st.lists(st.tuples(ids, values, ids), max_size=15),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
    block_bytes=st.integers(1, 60),
)
def test_rows_are_those_of_pythons_csv_module(
    rows: list[tuple[str, str, str]], quoting: Any, end: str, block_bytes: int
) -> None:
    if quoting == csv.QUOTE_MINIMAL:  # Python's writer does not quote a lone CR
        rows = [(user, note.replace("\r", ""), item) for user, note, item in rows]
    text = io.StringIO()
    csv.writer(text, quoting=quoting, lineterminator=end).writerows([("user_id", "note", "item_id"), *rows])
    written = list(csv.reader(io.StringIO(text.getvalue(), newline="")))[1:]
    assert [tuple(row) for row in written] == rows
    found, letters = read_csv(text.getvalue().encode(), block_bytes)
    assert letters == []
    assert found == [(user, item) for user, _, item in rows]


@given(parts=soup, block_bytes=st.integers(1, 60))
def test_every_record_is_a_row_of_the_csv_module_or_a_dead_letter_with_its_bytes(
    parts: list[str], block_bytes: int
) -> None:
    body = "".join(parts).encode()
    found, letters = read_csv(b"user_id,item_id\n" + body, block_bytes)
    rows = iter(found)
    left = [(letter.position, letter.original) for letter in letters]
    line = 2
    for record, _ in slow_records(body, 1 << 20):
        stripped = record.removesuffix(b"\n").removesuffix(b"\r")
        if (line, stripped) in left:
            left.remove((line, stripped))
        elif stripped:
            [fields] = csv.reader(io.StringIO(record.decode(), newline=""))
            assert next(rows) == tuple(fields)
        line += record.count(b"\n")
    assert left == [] and list(rows) == []


def read_csv(data: bytes, block_bytes: int) -> tuple[list[tuple[str, ...]], list[DeadLetter]]:
    format = InteractionFormat()
    columns, blocks = open_csv(io.BytesIO(data), format, block_bytes)
    found: list[tuple[str, ...]] = []
    letters: list[DeadLetter] = []
    for raw in blocks:
        checked = validate(raw, "f", columns, format)
        letters += checked.rejected
        if checked.block is not None:
            found += zip(*(column.to_pylist() for column in checked.block.columns), strict=True)
    return found, letters


def read_file(path: Path) -> tuple[list[tuple[str, str]], list[DeadLetter]]:
    *outputs, report = read_unit(WorkUnit(InputFile(str(path), path.stat().st_size)), InteractionFormat())
    assert report.fault is None
    blocks = [output for output in outputs if isinstance(output, pa.RecordBatch)]
    rows = [
        row for b in blocks for row in zip(b["user_id"].to_pylist(), b["item_id"].to_pylist(), strict=True)
    ]  # fmt: skip
    return rows, [output for output in outputs if isinstance(output, DeadLetter)]


@pytest.mark.parametrize("gzipped", [False, True])
def test_a_quoted_value_over_three_lines_is_one_row_and_no_item_is_invented(tmp_path: Path, gzipped: bool) -> None:
    text = b'user_id,item_id,note\nu1,a,"first\nx,y,z\nlast"\nu2,a,\n'
    (tmp_path / "log").write_bytes(gzip.compress(text) if gzipped else text)
    assert read_file(tmp_path / "log") == ([("u1", "a"), ("u2", "a")], [])


@pytest.mark.parametrize("gzipped", [False, True])
def test_a_stray_quote_costs_its_line_alone(tmp_path: Path, gzipped: bool) -> None:
    """Nothing closes the quote of line 3 within 1 MiB. The text is 3 MiB long, and blocks do not matter."""
    rows = [(f"u{n}", f"item {n:06}") for n in range(200_000)]
    text = b"user_id,item_id\nu,first\n" + b'"u,stray\n' + "".join(f"{user},{item}\n" for user, item in rows).encode()
    (tmp_path / "log").write_bytes(gzip.compress(text, 1) if gzipped else text)
    found, letters = read_file(tmp_path / "log")
    assert found == [("u", "first"), *rows]
    assert [(letter.position, letter.reason, letter.original) for letter in letters] == [(3, STRAY, b'"u,stray')]


@pytest.mark.parametrize(("extra", "kept"), [(0, True), (1, False)])
def test_a_record_of_exactly_one_mebibyte_is_a_record(extra: int, kept: bool) -> None:
    start, end = b'u,i,"', b'\n"\n'
    record = start + b"x" * ((1 << 20) - len(start) - len(end) + extra) + end
    [first, *_] = fast_records(record + b"v,j,\n", 1 << 16)[0]
    assert first == ((record, None) if kept else (record[: record.find(b"\n") + 1], STRAY))


def test_a_broken_record_of_several_lines_gives_its_first_line_and_all_bytes(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b'user_id,item_id,note\nu,a,"one\ntwo" three\r\nv,b,"four\nfive"\n,c,"six\nseven"\n')
    found, letters = read_file(tmp_path / "log")
    assert found == [("v", "b")]
    assert [(letter.position, letter.reason, letter.original) for letter in letters] == [
        (2, TRAILING, b'u,a,"one\ntwo" three'),
        (6, "user_id is empty", b',c,"six\nseven"'),
    ]


def test_hostile_text_takes_no_quadratic_time() -> None:
    """Each line closes a quote and opens the next one, so a naive scanner reads 1 MiB again for each of them."""
    data = b'a,"x\n' + b'y","x\n' * 300_000
    started = time.process_time()
    found, _ = fast_records(data, 1 << 24)
    assert time.process_time() - started < 60  # 2 s here; with a walk of 1 MiB for each line it would be an hour
    assert all(reason == STRAY for _, reason in found) and len(found) == 300_001
    assert b"".join(record for record, _ in found) == data
