"""A header that a joined file repeats is counted, and is neither an interaction nor a bad row."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from transforms.dead_letters import DeadLetter
from transforms.interactions import read
from transforms.interactions.csv import open_csv
from transforms.interactions.files import match
from transforms.interactions.format import InteractionFormat
from transforms.interactions.read import WorkUnit, read_unit
from transforms.interactions.reports import FileReport

PARTS = (b"user_id,item_id,timestamp\na,1,1\nb,2,2\n", b"user_id,item_id,timestamp\nc,3,x\nd,4,4\n")


def read_log(path: Path, data: bytes, **format: Any) -> tuple[list[Any], list[tuple[int, str]], FileReport]:
    """Return the rows, the dead letters as (position, reason), and the report of a file."""
    path.write_bytes(data)
    outputs = list(read_unit(WorkUnit(match([str(path)])[0]), InteractionFormat(**format)))
    blocks = [each for each in outputs if isinstance(each, pa.RecordBatch)]
    rows = [tuple(row.values()) for block in blocks for row in block.to_pylist()]
    letters = [(each.position, each.reason) for each in outputs if isinstance(each, DeadLetter)]
    return rows, letters, outputs[-1]


@pytest.mark.parametrize("block_bytes", [20, 1 << 20])
@pytest.mark.parametrize(
    "data",
    [
        b"".join(PARTS),
        b"\xef\xbb\xbf".join((b"", *PARTS)),  # files that each begin with a byte order mark
        b"".join(PARTS).replace(b"\n", b"\r\n"),
        PARTS[0] + PARTS[1].replace(b"user_id,item_id", b'"user_id","item_id"'),
        PARTS[0] + b"\xef\xbb\xbf" + PARTS[1].replace(b"user_id,item_id", b'"user_id","item_id"'),
        PARTS[0] + PARTS[1].replace(b"user_id,item_id", b"User_ID,ITEM_id"),
        gzip.compress(PARTS[0]) + gzip.compress(PARTS[1]),  # as `cat a.gz b.gz`
        gzip.compress(b"".join(PARTS)),
    ],
    ids=[
        "joined",
        "byte order marks",
        "CR LF",
        "quoted",
        "quoted behind a mark",
        "other case",
        "gzip members",
        "one gzip member",
    ],
)
def test_a_repeated_header_is_counted_and_every_other_row_stays(
    data: bytes, block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "open_csv", lambda text, format: open_csv(text, format, block_bytes))
    rows, letters, report = read_log(tmp_path / "log", data)
    assert rows == [("a", "1", 1_000_000), ("b", "2", 2_000_000), ("d", "4", 4_000_000)]
    assert letters == [(5, 'timestamp "x" is neither epoch seconds nor RFC 3339')]
    assert (report.rows_read, report.rows_rejected, report.header_rows) == (4, 1, 1)


def test_a_header_that_csv_header_replaces_is_no_interaction(tmp_path: Path) -> None:
    rows, letters, report = read_log(tmp_path / "log", b"user,item\nu,i\n", csv_header=("user", "item"))
    assert (rows, letters, report.header_rows) == ([("u", "i")], [], 1)


def test_a_row_that_holds_one_of_the_names_is_an_interaction(tmp_path: Path) -> None:
    data = b"user_id,item_id\nuser_id,1\na,item_id\nb,user_id\n"
    rows, letters, report = read_log(tmp_path / "log", data)
    assert rows == [("user_id", "1"), ("a", "item_id"), ("b", "user_id")]
    assert (letters, report.header_rows) == ([], 0)


@pytest.mark.parametrize("header", [b"item_id,user_id", b'\xef\xbb\xbf"Item_ID","user_id"'])
def test_a_header_that_swaps_the_columns_refuses_the_file(header: bytes, tmp_path: Path) -> None:
    """The rows below such a header would become users that are items."""
    _, _, report = read_log(tmp_path / "log", b"user_id,item_id\nu,i\n" + header + b"\ni,u\n")
    assert report.fault == (
        f"{tmp_path}/log: has a header that swaps user_id and item_id between its rows; pass its parts as files"
    )


def test_headers_beside_ragged_and_blank_lines_keep_the_positions(tmp_path: Path) -> None:
    data = b"user_id,item_id\n\nu\nuser_id,item_id\nv,i\n,j\n"
    rows, letters, report = read_log(tmp_path / "log", data)
    assert rows == [("v", "i")]
    assert letters == [(3, "has 1 columns, not 2"), (6, "user_id is empty")]
    assert (report.rows_read, report.header_rows) == (3, 1)
