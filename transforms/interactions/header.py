"""Read the header of a CSV text, and find the rows that repeat it.

A file that was joined from several files has a header in the middle. So has a gzip file of several parts. Such a row is
neither an interaction nor a bad row. Names are compared without case. A header that swaps the columns of users and
items refuses the file, because the rows below it are swapped, too. Another layout is not recognised.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from itertools import permutations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.interactions.columns import Columns
from transforms.interactions.files import FileFault
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


def find_header_rows(user: pa.ChunkedArray, item: pa.ChunkedArray, columns: Columns) -> npt.NDArray[np.bool_] | None:
    """Find the rows that repeat the header: their user and item are the names of these columns.

    Args:
        user: Users' ids, dictionary of bytes [rows].
        item: Items' ids, dictionary of bytes [rows].
        columns: Names of the columns.

    Returns:
        Which rows repeat the header, bool [rows]. None if no row does.

    Raises:
        FileFault: A row has the name of each column in the place of the other one.
    """
    if columns.user == columns.item or (user_is_name := _is_one_of(user, columns.user, columns.item)) is None:
        return None  # as in nearly every block
    rows = np.flatnonzero(user_is_name)
    users, items = (_names(column.take(pa.array(rows))) for column in (user, item))
    wanted, swapped = ((a.casefold(), b.casefold()) for a, b in permutations((columns.user, columns.item)))
    pairs = list(zip(users, items, strict=True))
    if swapped in pairs:
        raise FileFault(
            f"has a header that swaps {columns.user} and {columns.item} between its rows; pass its parts as files"
        )
    mask = np.zeros(len(user), np.bool_)
    mask[rows] = [pair == wanted for pair in pairs]
    return mask if mask.any() else None


def _is_one_of(column: pa.ChunkedArray, *names: str) -> npt.NDArray[np.bool_] | None:
    """Return which rows hold one of the names, as `_names` reads them. None if no row does."""
    pattern = '(?i)^(?:\ufeff)?"?(?:' + "|".join(map(re.escape, names)) + ')"?$'
    found = [pc.fill_null(pc.match_substring_regex(chunk.dictionary, pattern), False) for chunk in column.chunks]
    if not any(pc.any(each).as_py() for each in found):
        return None
    taken = [each.take(chunk.indices) for each, chunk in zip(found, column.chunks, strict=True)]
    mask: npt.NDArray[np.bool_] = pc.fill_null(pa.chunked_array(taken, pa.bool_()), False).to_numpy()
    return mask


def _names(column: pa.ChunkedArray) -> list[str]:
    """Return the values without case, byte order mark and quotes. A byte order mark keeps a parser from a quote."""
    texts = [(value or b"").removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace") for value in column.to_pylist()]
    return [text.removeprefix('"').removesuffix('"').casefold() for text in texts]


def _chain(first: RecordBlock, others: Iterator[RecordBlock]) -> Iterator[RecordBlock]:
    if first.lines.data:
        yield first
    yield from others
