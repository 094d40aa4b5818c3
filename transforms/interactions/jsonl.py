"""JSON lines to raw blocks: one object a line, parsed by orjson.

A column exists if any record of the file's first chunk with records (16 MiB) has the key; null and an absent key are
both missing. Integers beyond 64 bits are no ids here (orjson reads them as floats): write them as strings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import orjson
import pyarrow as pa

from transforms.interactions.format import Columns, InteractionFormat, resolve_columns
from transforms.interactions.lines import CHUNK_BYTES, Chunk, read_chunks
from transforms.interactions.validate import RawBlock, shorten

__all__ = ["Records", "open_jsonl"]


class Records(NamedTuple):
    """The objects of a chunk, the line index of each, and the lines that hold none with the reason."""

    chunk: Chunk
    rows: list[dict[str, Any]]
    lines: list[int] | range
    broken: dict[int, str]


def open_jsonl(
    stream: BinaryIO, format: InteractionFormat, chunk_bytes: int = CHUNK_BYTES
) -> tuple[Columns, Iterator[RawBlock]]:
    """The columns and raw blocks of the text. Raises FileFault for a column that no record has."""
    chunks = (_parse(chunk) for chunk in read_chunks(stream, chunk_bytes))
    early: list[Records] = []  # up to the first chunk with a record; usually one
    for records in chunks:
        early.append(records)
        if records.rows:
            present = list(dict.fromkeys(itertools.chain.from_iterable(records.rows)))
            columns = resolve_columns(present, format)
            break
    else:  # no record at all: whatever the columns are, there is no row to read them from
        columns = Columns(format.user_column, format.item_column, format.timestamp_column, format.weight_column)
    unexpected = [name for name in ("timestamp", "weight") if name not in columns.names and _is_default(name, format)]
    return columns, (_to_raw(records, columns, unexpected) for records in itertools.chain(early, chunks))


def _is_default(name: str, format: InteractionFormat) -> bool:
    return (format.timestamp_column if name == "timestamp" else format.weight_column) is None


def _parse(chunk: Chunk) -> Records:
    lines = chunk.data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    try:
        rows = [orjson.loads(line) for line in lines]
        if set(map(type, rows)) <= {dict}:
            return Records(chunk, rows, range(len(rows)), {})
    except orjson.JSONDecodeError:
        pass
    return _parse_one_by_one(chunk, lines)


def _parse_one_by_one(chunk: Chunk, lines: list[bytes]) -> Records:
    rows: list[dict[str, Any]] = []
    kept: list[int] = []
    broken: dict[int, str] = {}
    for index, line in enumerate(lines):
        if not line.strip():
            continue
        record: Any
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            broken[index] = f"is not JSON: {error.msg}"
            continue
        if isinstance(record, dict):
            rows.append(record)
            kept.append(index)
        else:
            broken[index] = f"is no JSON object but {shorten(line.decode())}"
    return Records(chunk, rows, kept, broken)


def _to_raw(records: Records, columns: Columns, unexpected: list[str]) -> RawBlock:
    chunk, rows, lines, broken = records
    values = {name: [record.get(name) for record in rows] for name in columns.names}
    faults: dict[int, str] = {}
    for name in unexpected:
        for row, record in enumerate(rows):
            if name in record:
                faults[row] = f"has {name}, which the start of the file lacks; pass --{name}_column={name}"
    for optional in (columns.weight, columns.timestamp):
        if optional is not None:
            _note_impossible(values[optional], optional, {str, int, float}, "a number or a string", faults)
    for name in (columns.item, columns.user):  # last noted wins: reasons come in the order user, item, time, weight
        _note_impossible(values[name], name, {str, int}, "a string or an integer", faults)
    return RawBlock(
        user=_to_column(values[columns.user], faults),
        item=_to_column(values[columns.item], faults),
        timestamp=None if columns.timestamp is None else _to_column(values[columns.timestamp], faults),
        weight=None if columns.weight is None else _to_column(values[columns.weight], faults),
        position=lambda row: chunk.first_line + lines[row],
        original=lambda row: chunk.line(lines[row]),
        faults=faults,
        unparsed=[(chunk.first_line + index, reason, chunk.line(index)) for index, reason in broken.items()],
    )


def _note_impossible(values: list[Any], name: str, kinds: set[type], wanted: str, faults: dict[int, str]) -> None:
    """Note the rows whose value is of a type that the column cannot have (bool is not int here)."""
    allowed = kinds | {type(None)}
    if set(map(type, values)) <= allowed:
        return
    for row, value in enumerate(values):
        if type(value) not in allowed:
            faults[row] = f"{name} {shorten(orjson.dumps(value).decode())} is not {wanted}"


def _to_column(values: list[Any], faults: dict[int, str]) -> pa.Array:
    """The values as integers, floats or strings, whichever holds all of them; null where `faults` has the row."""
    if faults:
        values = [None if row in faults else value for row, value in enumerate(values)]
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {int}:
        try:
            return pa.array(values, pa.int64())
        except (OverflowError, pa.ArrowInvalid):
            pass
    if kinds == {float}:
        return pa.array(values, pa.float64())
    if kinds <= {str}:
        return pa.array(values, pa.string())
    return pa.array([v if v is None or type(v) is str else repr(v) for v in values], pa.string())
