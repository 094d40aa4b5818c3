"""Read Parquet files as raw blocks: only the wanted columns, a few row groups at a time.

The position of a record is its 1-based row in the file. Its original is the canonical JSON of the columns read.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.interactions.columns import Columns, resolve_columns
from transforms.interactions.files import FileFault
from transforms.interactions.format import InteractionFormat
from transforms.interactions.times import native_text
from transforms.interactions.validate import RawBlock

__all__ = ["PART_BYTES", "open_parquet"]

PART_BYTES = 64 << 20  # one work unit: long enough to pay for its overhead, short enough to spread a large file
BLOCK_ROWS = 1 << 20
BLOCK_BYTES = 20 << 20  # Beam's recommended limit for a buffered element


def open_parquet(
    stream: BinaryIO | str, format: InteractionFormat, part: int = 0
) -> tuple[Columns, Iterator[RawBlock]]:
    """Return the columns and the raw blocks of one part of a Parquet file.

    Args:
        stream: Open file or local path.
        format: Column names of the run's files.
        part: Which part to read: the row groups that begin within bytes part * PART_BYTES to (part + 1) * PART_BYTES.

    Raises:
        FileFault: A column is missing, or the file is truncated or damaged.
    """
    try:
        file = pq.ParquetFile(stream, memory_map=isinstance(stream, str), pre_buffer=not isinstance(stream, str))
    except pa.ArrowInvalid as error:
        raise FileFault(
            f"is not a whole Parquet file ({str(error).splitlines()[0]}); write or copy it again"
        ) from error
    columns = resolve_columns(file.schema_arrow.names, format)
    ids = [name for name in (columns.user, columns.item) if _is_bytes(file.schema_arrow.field(name).type)]
    if ids:  # read strings as dictionaries, so that each distinct value is checked and kept once
        file = pq.ParquetFile(stream, read_dictionary=ids, metadata=file.metadata, memory_map=isinstance(stream, str))
    return columns, _blocks(file, columns, part)


def _blocks(file: pq.ParquetFile, columns: Columns, part: int) -> Iterator[RawBlock]:
    first = 1
    for group in range(file.num_row_groups):
        meta = file.metadata.row_group(group)
        if meta.num_rows and _start(meta) // PART_BYTES == part:
            position = first
            rows = _block_rows(meta, columns)
            for batch in file.iter_batches(rows, [group], columns.names, use_threads=False):
                yield _to_raw(batch, columns, position)
                position += batch.num_rows
        first += meta.num_rows


def _start(meta: pq.RowGroupMetaData) -> int:
    column = meta.column(0)
    offsets = [column.data_page_offset, column.dictionary_page_offset]
    return min(int(offset) for offset in offsets if offset)


def _block_rows(meta: pq.RowGroupMetaData, columns: Columns) -> int:
    wanted = set(columns.names)
    sizes = [meta.column(i) for i in range(meta.num_columns)]
    row_bytes = sum(c.total_uncompressed_size for c in sizes if c.path_in_schema in wanted) / meta.num_rows
    return max(1024, min(BLOCK_ROWS, int(BLOCK_BYTES / max(row_bytes, 1))))


def _to_raw(batch: pa.RecordBatch, columns: Columns, first: int) -> RawBlock:
    def column(name: str | None) -> pa.Array | None:
        return None if name is None else batch.column(batch.schema.get_field_index(name))

    return RawBlock(
        user=column(columns.user),
        item=column(columns.item),
        timestamp=column(columns.timestamp),
        weight=column(columns.weight),
        position=lambda row: first + row,
        original=lambda row: _canonical_row(batch, row),
    )


def _canonical_row(batch: pa.RecordBatch, row: int) -> bytes:
    fields = {name: _json_value(batch.column(i)[row]) for i, name in enumerate(batch.schema.names)}
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def _json_value(scalar: pa.Scalar) -> Any:
    """Convert a cell to JSON. Bytes that are not UTF-8 become base64, and types that JSON lacks become text."""
    if isinstance(scalar, pa.DictionaryScalar):
        scalar = scalar.value
    if not scalar.is_valid:
        return None
    if hasattr(scalar, "as_buffer"):
        data = scalar.as_buffer().to_pybytes()
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(data).decode("ascii")}
    if pa.types.is_integer(scalar.type) or pa.types.is_boolean(scalar.type):
        return scalar.as_py()
    if pa.types.is_floating(scalar.type):
        number = float(scalar.as_py())
        return number if number - number == 0 else str(number)  # JSON has no NaN and no infinity
    return native_text(scalar) or str(scalar)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))
