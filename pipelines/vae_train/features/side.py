"""Write the lookup files of side columns: columns of the catalogue that are features.

A value becomes a number. 1 is the first value in the UTF-8 order of its text, and 0 means no value. The graph has two
lookups: item id to row of the catalogue, and row to number. Each reads a text file with one entry per line. Ids contain
no line breaks. Values may contain any character, so the files hold only their numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.errors import BadUsage
from transforms.files import storage

__all__ = ["SideFiles", "side_sizes", "write_sides"]

_FOLDER, _SIZES = "sides", "sizes.json"


@dataclasses.dataclass(frozen=True)
class SideFiles:
    """The two lookup files of a column.

    Attributes:
        items: Text file with one item id per line.
        values: Text file with the number of the same line's item.
    """

    items: str
    values: str


def write_sides(table: pa.Table, columns: Sequence[str], transform_dir: str) -> dict[str, SideFiles]:
    """Write the lookup files of side columns.

    Args:
        table: The catalogue with item_id (string, distinct) and the columns. Null, NaN and empty text mean no value.
        columns: Names of the side columns.
        transform_dir: Folder under which to write.

    Returns:
        The files of each column.

    Raises:
        BadUsage: A column is missing, or its values are lists or structs.
    """
    if not columns:
        return {}
    missing = [column for column in columns if column not in table.column_names or column == "item_id"]
    if missing:
        have = ", ".join(name for name in table.column_names if name != "item_id")
        raise BadUsage(f"--side_columns={','.join(columns)}: --items has no column {missing[0]} (it has {have})")
    folder = storage.join(transform_dir, _FOLDER)
    items = storage.join(folder, "side_items.txt")
    _write_lines(items, table["item_id"].combine_chunks(), if_none=b"-\n")
    files, sizes = {}, {}
    for place, column in enumerate(columns):
        numbers, values = _number(table[column], column)
        files[column] = SideFiles(items, storage.join(folder, f"side_values_{place}.txt"))
        sizes[column] = values + 1
        _write_lines(files[column].values, numbers.cast(pa.string()), if_none=b"0\n")
    storage.write_json(storage.join(folder, _SIZES), sizes)
    return files


def side_sizes(transform_dir: str) -> dict[str, int]:
    """Return the number of values of each side column, including 0 for no value. Weight tables have that many rows."""
    sizes: Mapping[str, int] = storage.read_json(storage.join(transform_dir, _FOLDER, _SIZES)) or {}
    return dict(sizes)


def _number(column: pa.ChunkedArray, name: str) -> tuple[pa.Array, int]:
    """Return the numbers int64 [rows], 0 for no value, and the number of distinct values."""
    values = column.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    try:
        texts = values.cast(pa.large_string())
    except pa.ArrowException as error:
        raise BadUsage(
            f"--side_columns: column {name} of --items holds {values.type}; choose a column of texts or numbers"
        ) from error
    texts = pc.if_else(pc.equal(texts, ""), None, texts)
    distinct = pc.unique(texts).drop_null()
    distinct = distinct.take(pc.array_sort_indices(distinct))
    numbers = pc.add(pc.index_in(texts, value_set=distinct, skip_nulls=True).cast(pa.int64()), 1)
    return pc.fill_null(numbers, 0), len(distinct)


def _write_lines(uri: str, lines: pa.Array, if_none: bytes) -> None:
    """Write one value per line from the value buffer, without Python strings. TensorFlow rejects an empty file."""
    kind = pa.large_binary()
    ended = pc.binary_join_element_wise(lines.cast(kind), pa.scalar(b"", kind), pa.scalar(b"\n", kind))
    with storage.write_whole(uri) as file:
        if len(ended):
            offsets = np.frombuffer(ended.buffers()[1], np.int64)[ended.offset : ended.offset + len(ended) + 1]
            file.write(memoryview(ended.buffers()[2])[int(offsets[0]) : int(offsets[-1])])
        else:
            file.write(if_none)
