"""Read holdout files with the column `given`, which `split` writes and the interactions reader would drop.

This reader is strict, unlike the interactions reader. A program wrote these files, so one bad row is a fault of the
file and not a dead letter. `transforms.interactions` reads holdout data without `given`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.interactions.columns import Columns, resolve_columns
from transforms.interactions.files import FileFault, InputFile, describe, open_binary, sniff
from transforms.interactions.format import InteractionFormat
from transforms.interactions.reports import FileReport
from transforms.interactions.times import UNITS_US
from transforms.interactions.weights import to_weights

__all__ = ["has_given", "read_given"]

BLOCK_ROWS = 500_000


def has_given(files: Sequence[InputFile]) -> bool:
    """Return whether the first file is Parquet with a column `given`.

    The result is False for a file that cannot be read. The interactions reader then reports its fault.
    """
    try:
        with open_binary(files[0].uri) as stream:
            if sniff(stream).kind != "parquet":
                return False
            stream.seek(0)
            return "given" in pq.ParquetFile(stream).schema_arrow.names
    except (OSError, FileFault, pa.ArrowException):
        return False


def read_given(file: InputFile, format: InteractionFormat) -> Iterator[pa.RecordBatch | FileReport]:
    """Yield blocks (user_id, item_id, [weight], [timestamp], given) of one file, then its report.

    A fault in the report is one sentence.
    """
    rows, has_timestamp, fault = 0, False, None
    try:
        with open_binary(file.uri) as stream:
            if sniff(stream).kind != "parquet":
                raise FileFault("is not Parquet, but the first holdout file is; pass files of one format")
            stream.seek(0)
            parquet = pq.ParquetFile(stream)
            present = parquet.schema_arrow.names
            names = resolve_columns(present, format)
            if "given" not in present:
                raise FileFault("has no column given, but the first holdout file has; pass the files of one split")
            has_timestamp = names.timestamp is not None
            wanted = [*names.names, "given"]
            for batch in parquet.iter_batches(BLOCK_ROWS, columns=wanted):
                rows += batch.num_rows
                yield _block(batch, names, format)
    except FileFault as error:
        fault = f"{file.uri}: {error}"
    except (OSError, pa.ArrowException) as error:
        fault = f"{file.uri}: cannot be read ({describe(error)}); write it again"
    yield FileReport(
        uri=file.uri,
        rows_read=rows,
        rows_rejected=0,
        rows_filtered=0,
        has_weight=False,
        has_timestamp=has_timestamp,
        fault=fault,
    )


def _block(batch: pa.RecordBatch, names: Columns, format: InteractionFormat) -> pa.RecordBatch:
    columns: dict[str, Any] = {}
    for name, source in (("user_id", names.user), ("item_id", names.item)):
        ids = batch.column(source)
        kind = ids.type.value_type if pa.types.is_dictionary(ids.type) else ids.type
        if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise FileFault(f"column {source} has type {ids.type}; ids must be strings or integers")
        columns[name] = ids.cast(pa.string()).dictionary_encode()
    if names.weight is not None:
        weights, bad = to_weights(batch.column(names.weight), names.weight)
        if bad.any():
            raise FileFault(
                f"column {names.weight} has {int(bad.sum())} values that are not weights; write the split again"
            )
        columns["weight"] = pa.array(weights)
    if names.timestamp is not None:
        times = batch.column(names.timestamp)
        if pa.types.is_timestamp(times.type):
            times = times.cast(pa.timestamp("us", times.type.tz), safe=False).cast(pa.int64())
        elif pa.types.is_integer(times.type):
            times = pc.multiply(times.cast(pa.int64()), UNITS_US[format.timestamp_unit])
        else:
            raise FileFault(f"column {names.timestamp} has type {times.type}; it must be a timestamp or an integer")
        columns["timestamp"] = times
        late = 0 if format.as_of_us is None else pc.sum(pc.greater(times, format.as_of_us)).as_py() or 0
        if late:
            raise FileFault(f"has {late} times after --as_of; write the split again, or pass a later --as_of")
    columns["given"] = batch.column("given")
    if not pa.types.is_boolean(columns["given"].type):
        raise FileFault(f"column given has type {columns['given'].type}; it must be a boolean")
    for name, column in columns.items():
        if column.null_count:
            raise FileFault(f"column {name} has {column.null_count} nulls; write the split again")
    return pa.RecordBatch.from_pydict(columns)
