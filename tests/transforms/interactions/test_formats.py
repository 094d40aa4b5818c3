"""The same rows in every format and split: the same usable rows and dead letters as a row-by-row oracle says.

The oracle restates the contract in plain Python, one row at a time, and shares no code with the reader.
"""

from __future__ import annotations

import datetime
import gzip
import itertools
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transforms.dead_letters import DeadLetter
from transforms.interactions.files import InputFile
from transforms.interactions.format import InteractionFormat
from transforms.interactions.read import WorkUnit, read_unit
from transforms.interactions.reports import FileReport

NUMBER = re.compile(r"[ \t]*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[ \t]*", re.ASCII)
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
LEAST = (datetime.datetime(1, 1, 1, tzinfo=datetime.UTC) - EPOCH) // datetime.timedelta(microseconds=1)
MOST = (datetime.datetime.max.replace(tzinfo=datetime.UTC) - EPOCH) // datetime.timedelta(microseconds=1)


class Row(NamedTuple):
    """A row as text, the way a CSV shows it."""

    user_id: str
    item_id: str
    weight: str
    timestamp: str


def oracle_is_id(text: str) -> bool:
    return 1 <= len(text.encode()) <= 1024 and not set(text) & set("\0\r\n")


def oracle_time(text: str, unit_us: int) -> int | None:
    if re.fullmatch(r"[ \t]*[+-]?\d+[ \t]*", text, re.ASCII):
        time_us = int(text) * unit_us
    elif NUMBER.fullmatch(text):
        if not math.isfinite(float(text) * unit_us):
            return None
        time_us = round(float(text) * unit_us)
    elif RFC_3339.fullmatch(text):
        # Python reads 6 decimals and rounds none, knows no leap second, and only upper case.
        moment = re.sub(r"(\.\d{6})\d+", r"\1", text.upper().replace("T", " "))
        moment = re.sub(r"\.(\d{1,5})(?=[Z+-])", lambda m: "." + m[1].ljust(6, "0"), moment)
        try:
            parsed = datetime.datetime.fromisoformat(moment.replace("Z", "+00:00"))
            time_us = (parsed - EPOCH) // datetime.timedelta(microseconds=1)
        except (ValueError, OverflowError):
            return None
    else:
        return None
    return time_us if LEAST <= time_us <= MOST else None


def oracle_weight(text: str) -> float | None:
    weight = float(text) if NUMBER.fullmatch(text) else math.nan
    return weight + 0.0 if 0 <= weight < math.inf else None


def oracle(rows: list[Row], unit_us: int) -> tuple[Counter[tuple[Any, ...]], int]:
    """The usable rows, as a bag, and how many are not."""
    good: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        time_us, weight = oracle_time(row.timestamp, unit_us), oracle_weight(row.weight)
        if oracle_is_id(row.user_id) and oracle_is_id(row.item_id) and time_us is not None and weight is not None:
            good[row.user_id, row.item_id, weight, time_us] += 1
    return good, len(rows) - good.total()


def csv_field(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",]', text) or text == "" else text


def write_csv(path: Path, rows: list[Row], end: str = "\n") -> None:
    lines = ["timestamp,user_id,other,weight,item_id"]
    lines += [
        ",".join(csv_field(field) for field in (row.timestamp, row.user_id, 'a "b"', row.weight, row.item_id))
        for row in rows
    ]
    path.write_bytes(end.join(lines).encode() + end.encode())


def write_jsonl(path: Path, rows: list[Row]) -> None:
    path.write_bytes(b"".join(json.dumps(row._asdict()).encode() + b"\n" for row in rows))


def write_gzipped_jsonl(path: Path, rows: list[Row]) -> None:
    write_jsonl(path, rows)
    path.write_bytes(gzip.compress(path.read_bytes(), 1))


def write_parquet(path: Path, rows: list[Row]) -> None:
    columns = {name: pa.array([getattr(row, name) for row in rows], pa.string()) for name in Row._fields}
    pq.write_table(pa.table(columns), path, row_group_size=3)


WRITERS = {
    "csv": write_csv,
    "csv with CR LF": lambda path, rows: write_csv(path, rows, "\r\n"),
    "jsonl": write_jsonl,
    "jsonl.gz": write_gzipped_jsonl,
    "parquet": write_parquet,
}

# Line ends within values make other lines of a CSV, so they are left to the tests of single formats.
texts = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=6)
id_texts = st.one_of(
    st.sampled_from(["u1", "u2", "007", "7", " 7", "7 ", "", "NULL", "nan", "é" * 512, "é" * 513, "x" * 1025, "a\0b"]),
    st.integers(-(2**70), 2**70).map(str),
    texts,
)
weight_texts = st.one_of(
    st.sampled_from(["1", "0", "-0", "-1", "2.5", "NaN", "inf", "-inf", "1e400", "1e-400", "", "x", "+1", " 1", "1_0"]),
    st.sampled_from(["0x10", "1.", ".5", "1e2", "true", "١"]),
    st.floats().map(repr),
    texts,
)
time_texts = st.one_of(
    st.integers(-(2**40), 2**40).map(str),
    st.sampled_from(
        ["0", "-1", "007", "+5", " 5 ", "0x1F", "1.5", "1e9", "1.4999999", "", "yesterday", "NaN", "9" * 30]
    ),
    st.sampled_from(["2024-02-29T23:59:59Z", "2023-02-29T00:00:00Z", "2024-01-01 00:00:00z", "2024-01-01T00:00:00"]),
    st.sampled_from(["2024-13-01T00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T00:00:00.123456789+05:30"]),
    st.sampled_from(
        ["0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00Z", "2024-1-1T0:0:0Z"]
    ),
    st.datetimes(timezones=st.just(datetime.UTC)).map(datetime.datetime.isoformat),
    st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds") + "Z"),
    texts,
)
row_texts = st.builds(Row, id_texts, id_texts, weight_texts, time_texts)
clean_rows = st.builds(
    Row,
    st.integers(0, 99).map(str),
    st.integers(0, 9).map(str),
    st.sampled_from(["1", "0.5"]),
    st.integers(0, 2**31).map(str),
)


def read_files(paths: list[Path], format: InteractionFormat) -> tuple[Counter[tuple[Any, ...]], list[DeadLetter], int]:
    """The usable rows as a bag, the dead letters, and how many rows were read."""
    good: Counter[tuple[Any, ...]] = Counter()
    letters: list[DeadLetter] = []
    rows_read = 0
    for path in paths:
        *outputs, report = list(read_unit(WorkUnit(InputFile(str(path), path.stat().st_size)), format))
        assert isinstance(report, FileReport)
        assert report.fault is None
        assert report.rows_rejected == sum(isinstance(output, DeadLetter) for output in outputs)
        rows_read += report.rows_read
        for output in outputs:
            if isinstance(output, DeadLetter):
                letters.append(output)
            else:
                check_block(output)
                good.update(zip(*(column.to_pylist() for column in output.columns), strict=True))
    return good, letters, rows_read


def check_block(block: pa.RecordBatch) -> None:
    """What every consumer of a block relies on."""
    ids = pa.dictionary(pa.int32(), pa.string())
    assert block.num_rows > 0
    kinds = {"user_id": ids, "item_id": ids, "weight": pa.float64(), "timestamp": pa.int64()}
    assert block.schema.names == [name for name in kinds if name in block.schema.names]
    assert [field.type for field in block.schema] == [kinds[name] for name in block.schema.names]
    for column in block.columns:
        column.validate(full=True)
        assert column.null_count == 0
    for column in block.columns[:2]:
        values = column.dictionary.to_pylist()
        assert len(set(values)) == len(values)
        assert set(column.indices.to_pylist()) == set(range(len(values)))


@pytest.mark.parametrize("kind", WRITERS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(st.one_of(clean_rows, row_texts), min_size=1, max_size=12),
    cuts=st.sets(st.integers(1, 11), max_size=3),
    unit=st.sampled_from(["s", "ms", "us"]),
)
def test_every_format_and_split_agrees_with_the_row_by_row_oracle(
    kind: str, rows: list[Row], cuts: set[int], unit: Any, tmp_path: Path
) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(rows)), len(rows)]
    paths = []
    for number, (start, end) in enumerate(itertools.pairwise(edges)):
        paths.append(tmp_path / f"part{number}")
        WRITERS[kind](paths[-1], rows[start:end])

    good, letters, rows_read = read_files(paths, InteractionFormat(timestamp_unit=unit))

    expected_good, expected_bad = oracle(rows, {"s": 1_000_000, "ms": 1_000, "us": 1}[unit])
    assert good == expected_good
    assert (len(letters), rows_read) == (expected_bad, len(rows))
    assert all(letter.reason and letter.original and letter.position >= 1 for letter in letters)


@pytest.mark.parametrize("ids", [pa.int8(), pa.int32(), pa.int64(), pa.uint64(), pa.large_string(), pa.binary()])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(users=st.lists(st.one_of(st.none(), st.integers(0, 99)), min_size=1))
def test_ids_of_any_parquet_type_are_their_decimal_text(
    ids: pa.DataType, users: list[int | None], tmp_path: Path
) -> None:
    column = pa.array(users, pa.int64()).cast(pa.string()).cast(ids) if ids != pa.int8() else pa.array(users, ids)
    pq.write_table(pa.table({"item_id": column, "user_id": column}), tmp_path / "x", row_group_size=2)
    good, letters, _ = read_files([tmp_path / "x"], InteractionFormat())
    assert good == Counter((str(user), str(user)) for user in users if user is not None)
    assert [letter.position for letter in letters] == [row for row, user in enumerate(users, 1) if user is None]
