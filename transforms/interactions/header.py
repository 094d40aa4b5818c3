"""Read the header of a CSV text, and find the rows that repeat it.

A file that was joined from several files has a header in the middle. So has a gzip file of several parts. Such a row is
neither an interaction nor a bad row. A header of other columns, or of another order, is not recognised.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.interactions.columns import Columns
from transforms.interactions.files import UTF8_BOM, FileFault
from transforms.interactions.records import RecordBlock

__all__ = ["find_header_rows", "parse_header", "take_header"]


def take_header(blocks: Iterator[RecordBlock]) -> tuple[bytes, Iterator[RecordBlock]]:
    """Return the first record that is not blank, and the records after it.

    Raises:
        FileFault: There is no such record.
    """
    for block in blocks:
        for index in range(block.lines.count()):
            if line := block.lines.line(index):
                return line, _chain(block.after(index), blocks)
    raise FileFault("is empty; add a header line, or pass --csv_header")


def parse_header(line: bytes, delimiter: str) -> list[str]:
    """Return the column names of a header.

    Raises:
        FileFault: The line is not CSV text.
    """
    if b"\0" in line:
        raise FileFault("its first line contains NUL; is it a text file?")
    try:
        return next(csv.reader([line.decode("utf-8")], delimiter=delimiter, strict=True))
    except UnicodeDecodeError as error:
        raise FileFault("its first line is not UTF-8; is it a text file?") from error
    except csv.Error as error:
        raise FileFault(f"its header line cannot be parsed ({error}); correct it or pass --csv_delimiter") from error


def find_header_rows(
    data: bytes, user: pa.ChunkedArray, item: pa.ChunkedArray, columns: Columns
) -> npt.NDArray[np.bool_] | None:
    """Find the rows that repeat the header: their user and item are the names of these columns.

    Args:
        data: The text of the rows.
        user: Users' ids, dictionary of bytes [rows].
        item: Items' ids, dictionary of bytes [rows].
        columns: Names of the columns.

    Returns:
        Which rows repeat the header, bool [rows]. None if no row does.
    """
    if columns.user.encode() not in data or columns.item.encode() not in data:  # as in nearly every block
        return None
    found = pc.and_(_equals(user, columns.user), _equals(item, columns.item))
    mask: npt.NDArray[np.bool_] = pc.fill_null(found, False).to_numpy()
    return mask if mask.any() else None


def _equals(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Return which rows hold the name, also with a byte order mark in front."""
    names = pa.array([name.encode(), UTF8_BOM + name.encode()], pa.binary())
    return pa.chunked_array(
        [pc.is_in(chunk.dictionary, value_set=names).take(chunk.indices) for chunk in column.chunks], pa.bool_()
    )


def _chain(first: RecordBlock, others: Iterator[RecordBlock]) -> Iterator[RecordBlock]:
    if first.lines.data:
        yield first
    yield from others
