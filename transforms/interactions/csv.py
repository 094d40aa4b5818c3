"""Read CSV files (any one-byte delimiter, RFC 4180 quotes) as raw blocks.

`records` finds where each record ends, and pyarrow parses the records. Every wanted column is read as bytes, so nothing
is inferred or trimmed. An unquoted value that equals `InteractionFormat.null_text` is null. A broken record becomes a
dead letter: an unclosed quote, text after a closing quote, a lone CR, or another number of columns. Blank lines are
skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from transforms.interactions.columns import Columns, resolve_columns
from transforms.interactions.format import InteractionFormat
from transforms.interactions.header import find_header_rows, parse_header, take_header
from transforms.interactions.lines import LINE_BLOCK_BYTES, LineBlock
from transforms.interactions.records import RecordBlock, read_record_blocks
from transforms.interactions.validate import RawBlock

__all__ = ["open_csv"]


def open_csv(
    stream: BinaryIO, format: InteractionFormat, block_bytes: int = LINE_BLOCK_BYTES
) -> tuple[Columns, Iterator[RawBlock]]:
    """Return the columns and the raw blocks of a text.

    Args:
        stream: The text, at its start.
        format: Column names, delimiter and header of the run's files.
        block_bytes: Size of the blocks of lines to read, in bytes.

    Raises:
        FileFault: The header or a column is missing.
    """
    blocks = read_record_blocks(stream, format.csv_delimiter, block_bytes)
    if format.csv_header is not None:
        header = list(format.csv_header)
    else:
        line, blocks = take_header(blocks)
        header = parse_header(line, format.csv_delimiter)
    columns = resolve_columns(header, format)
    return columns, (_parse(block, header, columns, format) for block in blocks)


def _parse(records: RecordBlock, header: list[str], columns: Columns, format: InteractionFormat) -> RawBlock:
    block, delimiter = records.lines, format.csv_delimiter
    has_quotes = b'"' in block.data
    broken = _find_lone_returns(block, delimiter, has_quotes) | records.broken
    data, lines = block.data, None  # lines: index of each row's record in the block; None if it is the row's own index
    if broken:
        whole = np.ones(block.count(), np.bool_)
        whole[list(broken)] = False
        data, lines = b"".join(block.array().filter(pa.array(whole)).to_pylist()), np.flatnonzero(whole)

    ragged: dict[int, int] = {}  # row to its number of columns
    table = _read_table(data, header, columns, format, has_quotes, ragged)
    rows = table.num_rows + len(ragged)
    if rows != (block.count() if lines is None else len(lines)):  # blank lines, which Arrow skips
        candidates = np.arange(block.count()) if lines is None else lines
        lines = candidates[[bool(block.line(int(index))) for index in candidates]]
    if ragged:
        lines = np.arange(rows) if lines is None else lines
        broken |= {int(lines[row]): f"has {width} columns, not {len(header)}" for row, width in ragged.items()}
        lines = np.delete(lines, list(ragged))
    table = table.rename_columns([header[int(label[1:])] for label in table.column_names])
    headers = find_header_rows(table[columns.user], table[columns.item], columns)
    if headers is not None:
        table = table.filter(pa.array(~headers))
        lines = (np.arange(len(headers)) if lines is None else lines)[~headers]
    header_rows = 0 if headers is None else int(np.count_nonzero(headers))
    return _to_raw(block, lines, table, columns, broken, header_rows)


def _to_raw(
    block: LineBlock,
    lines: npt.NDArray[np.int64] | None,
    table: pa.Table,
    columns: Columns,
    broken: dict[int, str],
    header_rows: int,
) -> RawBlock:
    def line_of(row: int) -> int:
        return row if lines is None else int(lines[row])

    def column(name: str | None) -> pa.Array | None:
        if name is None:
            return None
        chunked = table[name]
        return chunked.chunk(0) if chunked.num_chunks == 1 else chunked.combine_chunks()

    return RawBlock(
        user=column(columns.user),
        item=column(columns.item),
        timestamp=column(columns.timestamp),
        weight=column(columns.weight),
        position=lambda row: block.position(line_of(row)),
        original=lambda row: block.line(line_of(row)),
        unparsed=[(block.position(index), reason, block.line(index)) for index, reason in broken.items()],
        header_rows=header_rows,
    )


def _find_lone_returns(block: LineBlock, delimiter: str, has_quotes: bool) -> dict[int, str]:
    """Return the reason for each record with a CR that Arrow would read as the end of the record."""
    data = block.data
    if b"\r" not in data or data.count(b"\r") == data.count(b"\r\n"):
        return {}
    at = np.flatnonzero(np.frombuffer(data, np.uint8) == 13)
    lone = [int(i) for i in at if data[i + 1 : i + 2] not in (b"\n", b"")]
    records = np.unique(np.searchsorted(block.offsets, lone, side="right") - 1).tolist()
    if has_quotes:
        quoted = re.compile(rb'(^|%s)"(?:[^"]|"")*"' % re.escape(delimiter.encode()))
        records = [each for each in records if b"\r" in quoted.sub(b"", block.line(each)).replace(b"\r\n", b"")]
    return dict.fromkeys(records, "has a CR that is not part of its line end")


def _read_table(
    data: bytes,
    header: list[str],
    columns: Columns,
    format: InteractionFormat,
    has_quotes: bool,
    ragged: dict[int, int],
) -> pa.Table:
    """Read the wanted columns. Skip rows of another width and note them in `ragged`."""
    ids = pa.dictionary(pa.int32(), pa.binary())
    types = {
        _label(header.index(name)): ids if name in (columns.user, columns.item) else pa.binary()
        for name in columns.names
    }
    if not data.strip(b"\r\n"):  # Arrow raises for text without rows
        return pa.table({label: pa.array([], kind) for label, kind in types.items()})

    null_text = format.null_text
    may_be_null = bool(null_text) and null_text.encode() in data

    def note(row: pyarrow.csv.InvalidRow) -> str:
        ragged[row.number - 1] = row.actual_columns
        return "skip"

    return pyarrow.csv.read_csv(
        pa.py_buffer(data),
        read_options=pyarrow.csv.ReadOptions(
            use_threads=False, block_size=len(data) + 1, column_names=[_label(i) for i in range(len(header))]
        ),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=format.csv_delimiter,
            quote_char='"' if has_quotes else False,
            newlines_in_values=has_quotes,
            invalid_row_handler=note,
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=list(types),
            column_types=types,
            null_values=[null_text],
            strings_can_be_null=may_be_null,
            quoted_strings_can_be_null=False,
        ),
    )


def _label(index: int) -> str:
    return f"c{index}"  # by position, because a file may repeat the name of a column that is not read
