"""Read CSV files (any one-byte delimiter, RFC 4180 quotes) as raw blocks. A record is one line.

Every wanted column is read as bytes, so nothing is inferred, trimmed or read as null. A line that is not one record
becomes a dead letter: an unclosed quote, a lone CR, or another number of columns. Blank lines are skipped.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from transforms.interactions.files import FileFault
from transforms.interactions.format import Columns, InteractionFormat, resolve_columns
from transforms.interactions.lines import LINE_BLOCK_BYTES, LineBlock, read_line_blocks
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
    blocks = read_line_blocks(stream, block_bytes)
    if format.csv_header is not None:
        header = list(format.csv_header)
    else:
        line, blocks = _take_header(blocks)
        header = _parse_header(line, format.csv_delimiter)
    columns = resolve_columns(header, format)
    return columns, (_parse(block, header, columns, format.csv_delimiter) for block in blocks)


def _take_header(blocks: Iterator[LineBlock]) -> tuple[bytes, Iterator[LineBlock]]:
    """Return the first line that is not blank, and the lines after it."""
    for block in blocks:
        for index in range(block.count()):
            if line := block.line(index):
                return line, _chain(block.after(index), blocks)
    raise FileFault("is empty; add a header line, or pass --csv_header")


def _chain(first: LineBlock, others: Iterator[LineBlock]) -> Iterator[LineBlock]:
    if first.data:
        yield first
    yield from others


def _parse_header(line: bytes, delimiter: str) -> list[str]:
    if b"\0" in line:
        raise FileFault("its first line contains NUL; is it a text file?")
    try:
        return next(csv.reader([line.decode("utf-8")], delimiter=delimiter, strict=True))
    except UnicodeDecodeError as error:
        raise FileFault("its first line is not UTF-8; is it a text file?") from error
    except csv.Error as error:
        raise FileFault(f"its header line cannot be parsed ({error}); correct it or pass --csv_delimiter") from error


def _parse(block: LineBlock, header: list[str], columns: Columns, delimiter: str) -> RawBlock:
    has_quotes = b'"' in block.data
    broken = _find_broken(block, delimiter, has_quotes)
    data, lines = block.data, None  # lines: index of each row's line in the block; None if it is the row's own index
    if broken:
        whole = np.ones(block.count(), np.bool_)
        whole[list(broken)] = False
        data, lines = b"".join(block.array().filter(pa.array(whole)).to_pylist()), np.flatnonzero(whole)

    ragged: dict[int, int] = {}  # row to its number of columns
    table = _read_table(data, header, columns, delimiter, has_quotes, ragged)
    rows = table.num_rows + len(ragged)
    if rows != (block.count() if lines is None else len(lines)):  # blank lines, which Arrow skips
        candidates = np.arange(block.count()) if lines is None else lines
        lines = candidates[[bool(block.line(int(index))) for index in candidates]]
    if ragged:
        lines = np.arange(rows) if lines is None else lines
        broken |= {int(lines[row]): f"has {width} columns, not {len(header)}" for row, width in ragged.items()}
        lines = np.delete(lines, list(ragged))
    return _to_raw(
        block, lines, {name: table.column(_label(header.index(name))) for name in columns.names}, columns, broken
    )


def _to_raw(
    block: LineBlock,
    lines: npt.NDArray[np.int64] | None,
    table: dict[str, pa.ChunkedArray],
    columns: Columns,
    broken: dict[int, str],
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
        position=lambda row: block.first_line + line_of(row),
        original=lambda row: block.line(line_of(row)),
        unparsed=[(block.first_line + index, reason, block.line(index)) for index, reason in broken.items()],
    )


def _find_broken(block: LineBlock, delimiter: str, has_quotes: bool) -> dict[int, str]:
    """Find the lines that Arrow would read as several records, or as part of one. Return the reason per line."""
    broken: dict[int, str] = {}
    data = block.data
    if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
        at = np.flatnonzero(np.frombuffer(data, np.uint8) == 13)
        lone = [int(i) for i in at if data[i + 1 : i + 2] not in (b"\n", b"")]
        lines = np.unique(np.searchsorted(block.offsets, lone, side="right") - 1)
        broken |= {int(line): "has a CR that is not part of its line end" for line in lines}
    if has_quotes and not _is_simply_quoted(block, delimiter):
        well_quoted = pc.match_substring_regex(block.array(), _line_pattern(delimiter))
        for line in np.flatnonzero(~well_quoted.to_numpy(zero_copy_only=False)):
            broken.setdefault(int(line), "has a quoted value that does not end before a delimiter on its line")
        # A line feed within quotes leaves one quote on each side. The second half would be read as unquoted values.
        odd = pc.count_substring(block.array(), '"').to_numpy(zero_copy_only=False) % 2 == 1
        for line in np.flatnonzero(odd):
            broken.setdefault(int(line), "has an odd number of quotes")
    return broken


def _is_simply_quoted(block: LineBlock, delimiter: str) -> bool:
    """Return whether every quote opens or closes a whole value on one line, as writers that quote all text do.

    A doubled quote, or a quote in the middle of a value, returns False. Then a regular expression checks each line.
    """
    data = np.frombuffer(b"\n" + block.data + b"\n", np.uint8)
    quotes = np.flatnonzero(data == ord('"'))
    opening, closing = quotes[0::2], quotes[1::2]
    if len(opening) != len(closing):
        return False
    before, after = data[opening - 1], data[closing + 1]
    stop = ord(delimiter)
    if not (((before == stop) | (before == 10)).all() and ((after == stop) | (after == 10) | (after == 13)).all()):
        return False
    line_feeds = np.cumsum(data == 10, dtype=np.int32)
    return bool((line_feeds[opening] == line_feeds[closing]).all())


def _line_pattern(delimiter: str) -> str:
    """Return a pattern for a line of RFC 4180. Unlike RFC 4180, it allows pairs of quotes within unquoted values."""
    stop = re.escape(delimiter)
    field = rf'(?:"(?:[^"]|"")*"|(?:[^"{stop}][^{stop}]*)?)'
    return rf"^{field}(?:{stop}{field})*\r?\n?$"


def _read_table(
    data: bytes, header: list[str], columns: Columns, delimiter: str, has_quotes: bool, ragged: dict[int, int]
) -> pa.Table:
    """Read the wanted columns. Skip rows of another width and note them in `ragged`."""
    ids = pa.dictionary(pa.int32(), pa.binary())
    types = {
        _label(header.index(name)): ids if name in (columns.user, columns.item) else pa.binary()
        for name in columns.names
    }
    if not data.strip(b"\r\n"):  # Arrow raises for text without rows
        return pa.table({label: pa.array([], kind) for label, kind in types.items()})

    def note(row: pyarrow.csv.InvalidRow) -> str:
        ragged[row.number - 1] = row.actual_columns
        return "skip"

    return pyarrow.csv.read_csv(
        pa.py_buffer(data),
        read_options=pyarrow.csv.ReadOptions(
            use_threads=False, block_size=len(data) + 1, column_names=[_label(i) for i in range(len(header))]
        ),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=delimiter, quote_char='"' if has_quotes else False, invalid_row_handler=note
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=list(types), column_types=types, strings_can_be_null=False
        ),
    )


def _label(index: int) -> str:
    return f"c{index}"  # by position, because a file may repeat the name of a column that is not read
