"""Split a raw block into a clean block and dead letters.

`ids`, `times` and `weights` hold the rules for the values. Columns are checked whole, and Python looks only at the bad
rows one by one. `parquet`, `csv` and `jsonl` read the raw columns.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.dead_letters import DeadLetter
from transforms.interactions.columns import Columns
from transforms.interactions.format import InteractionFormat, TimestampUnit
from transforms.interactions.ids import EncodedIds, encode_ids, id_fault
from transforms.interactions.time_columns import to_microseconds
from transforms.interactions.times import future_fault, native_text, time_fault
from transforms.interactions.weights import to_weights, weight_fault

__all__ = ["RawBlock", "Validated", "quote", "shorten", "validate"]

QUOTE_LENGTH = 80  # keeps a reason on one readable line, however long the value is


@dataclasses.dataclass(frozen=True, eq=False)
class RawBlock:
    """The columns of a block as the file holds them, [rows] each, of any type.

    Attributes:
        user: Users' ids.
        item: Items' ids.
        timestamp: Times, or None if the file has none.
        weight: Weights, or None if the file has none.
        position: Returns the 1-based line or row number of a row index.
        original: Returns the original bytes of a row index.
        faults: Rows that the reader found to be bad, with the reason. Their values are ignored.
        unparsed: Position, reason and original bytes of records that did not become rows.
        header_rows: How many rows the reader left out because they repeat the header.
    """

    user: pa.Array
    item: pa.Array
    timestamp: pa.Array | None
    weight: pa.Array | None
    position: Callable[[int], int]
    original: Callable[[int], bytes]
    faults: Mapping[int, str] = dataclasses.field(default_factory=dict)
    unparsed: list[tuple[int, str, bytes]] = dataclasses.field(default_factory=list)
    header_rows: int = 0


class Validated(NamedTuple):
    """A validated block.

    Attributes:
        block: The valid rows, or None if there are none.
        rejected: Dead letters, sorted by position.
        rows_read: How many records were read.
        rows_filtered: How many valid rows the filters removed.
        rows_future: How many of the rejected rows have no other fault than a time after `InteractionFormat.as_of_us`.
        header_rows: How many rows repeat the header. They are not among rows_read.
    """

    block: pa.RecordBatch | None
    rejected: list[DeadLetter]
    rows_read: int
    rows_filtered: int
    rows_future: int = 0
    header_rows: int = 0


def validate(raw: RawBlock, source: str, columns: Columns, format: InteractionFormat) -> Validated:
    """Split a raw block into usable rows and dead letters.

    Args:
        raw: The block.
        source: URI of the file.
        columns: Names of the file's columns.
        format: Units and filters of the run's files.

    Raises:
        FileFault: A column has a type that it cannot have.
    """
    rows = len(raw.user)
    user = encode_ids(raw.user, columns.user)
    item = encode_ids(raw.item, columns.item)
    checks: list[tuple[npt.NDArray[np.bool_] | None, Callable[[int], str]]] = [
        (user.bad, lambda row: _id_reason(raw.user, row, columns.user)),
        (item.bad, lambda row: _id_reason(raw.item, row, columns.item)),
    ]
    times: npt.NDArray[np.int64] | None = None
    weights: npt.NDArray[np.float64] | None = None
    if raw.timestamp is not None and columns.timestamp is not None:
        column, name, unit = raw.timestamp, columns.timestamp, format.timestamp_unit
        times, bad_times = to_microseconds(column, name, unit)
        checks.append((bad_times, lambda row: _time_reason(column, row, name, unit)))
    if raw.weight is not None and columns.weight is not None:
        weight_column, weight_name = raw.weight, columns.weight
        weights, bad_weights = to_weights(weight_column, weight_name)
        checks.append((bad_weights, lambda row: _weight_reason(weight_column, row, weight_name)))

    bad = _join(rows, [mask for mask, _ in checks], raw.faults)
    rows_future = 0
    if (future := _find_future(times, bad, format)) is not None:
        rows_future = int(np.count_nonzero(future))
        checks.append((future, lambda row: _future_reason(raw.timestamp, row, columns.timestamp, format.as_of_us)))
        bad = future if bad is None else bad | future
    rejected = list(raw.unparsed)
    if bad is not None:
        for row in np.flatnonzero(bad).tolist():
            reason = raw.faults.get(row) or next(why(row) for mask, why in checks if mask is not None and mask[row])
            rejected.append((raw.position(row), reason, raw.original(row)))
    keep, rows_filtered = _apply_filters(bad, times, weights, format)
    return Validated(
        block=_to_block(user, item, weights, times, keep),
        rejected=[DeadLetter(source, *record) for record in sorted(rejected)],
        rows_read=rows + len(raw.unparsed),
        rows_filtered=rows_filtered,
        rows_future=rows_future,
        header_rows=raw.header_rows,
    )


def quote(value: Any) -> str:
    """Format a value for a reason: text in double quotes, control characters escaped, cut to 80 characters."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    return json.dumps(shorten(value), ensure_ascii=False) if isinstance(value, str) else shorten(str(value))


def shorten(text: str) -> str:
    """Cut a text to 80 characters."""
    return text if len(text) <= QUOTE_LENGTH else text[:QUOTE_LENGTH] + "…"


def _value(column: pa.Array, row: int) -> Any:
    """Return a cell as a Python value. Bytes that are not UTF-8 are escaped."""
    scalar = column[row]
    if isinstance(scalar, pa.DictionaryScalar):
        scalar = scalar.value
    if not scalar.is_valid:
        return None
    if hasattr(scalar, "as_buffer"):
        return scalar.as_buffer().to_pybytes().decode("utf-8", "backslashreplace")
    return scalar.as_py()


def _weight_reason(column: pa.Array, row: int, name: str) -> str:
    value = _value(column, row)
    return weight_fault(value, name, quote(value))


def _time_reason(column: pa.Array, row: int, name: str, unit: TimestampUnit) -> str:
    value, quoted = _time_value(column, row)
    return time_fault(value, name, unit, quoted)


def _future_reason(column: pa.Array, row: int, name: str | None, as_of_us: int | None) -> str:
    assert name is not None and as_of_us is not None
    return future_fault(_time_value(column, row)[1], name, as_of_us)


def _time_value(column: pa.Array, row: int) -> tuple[Any, str]:
    """Return a time as `time_fault` takes it, and as a message shows it."""
    scalar = column[row]
    native = native_text(scalar) if scalar.is_valid else None
    value = _value(column, row) if native is None else scalar
    return value, quote(value) if native is None else native


def _find_future(
    times: npt.NDArray[np.int64] | None, bad: npt.NDArray[np.bool_] | None, format: InteractionFormat
) -> npt.NDArray[np.bool_] | None:
    """Return the otherwise valid rows after `as_of_us` that `until_us` does not remove. None if there are none."""
    if times is None or format.as_of_us is None or not len(times) or times.max() <= format.as_of_us:
        return None
    future: npt.NDArray[np.bool_] = times > format.as_of_us
    if format.until_us is not None:
        future &= times <= format.until_us
    if bad is not None:
        future &= ~bad
    return future if future.any() else None


def _id_reason(column: pa.Array, row: int, name: str) -> str:
    if isinstance(column, pa.DictionaryArray):
        index = column.indices[row].as_py()
        if index is None:
            return id_fault(None, name, "")
        column, row = column.dictionary, index
    scalar = column[row]
    value = scalar.as_buffer() if scalar.is_valid and hasattr(scalar, "as_buffer") else None
    raw = None if value is None else value.to_pybytes()
    return id_fault(raw, name, quote(raw))


def _join(
    rows: int, masks: list[npt.NDArray[np.bool_] | None], faults: Mapping[int, str]
) -> npt.NDArray[np.bool_] | None:
    present = [mask for mask in masks if mask is not None and mask.any()]
    if not present and not faults:
        return None
    bad = np.zeros(rows, np.bool_)
    for mask in present:
        bad |= mask
    bad[list(faults)] = True
    return bad


def _apply_filters(
    bad: npt.NDArray[np.bool_] | None,
    times: npt.NDArray[np.int64] | None,
    weights: npt.NDArray[np.float64] | None,
    format: InteractionFormat,
) -> tuple[npt.NDArray[np.bool_] | None, int]:
    """Return which rows to keep (None: all), and how many valid rows the filters removed."""
    keep = None if bad is None else ~bad
    conditions = []
    if weights is not None and format.min_weight is not None:
        conditions.append(weights >= format.min_weight)
    if times is not None and format.since_us is not None:
        conditions.append(times >= format.since_us)
    if times is not None and format.until_us is not None:
        conditions.append(times <= format.until_us)
    if not conditions:
        return keep, 0
    wanted = np.logical_and.reduce(conditions)
    good = len(wanted) if keep is None else int(np.count_nonzero(keep))
    keep = wanted if keep is None else keep & wanted
    stay = int(np.count_nonzero(keep))
    return (None if stay == len(keep) else keep), good - stay


def _to_block(
    user: EncodedIds,
    item: EncodedIds,
    weights: npt.NDArray[np.float64] | None,
    times: npt.NDArray[np.int64] | None,
    keep: npt.NDArray[np.bool_] | None,
) -> pa.RecordBatch | None:
    if len(user.indices) == 0 or (keep is not None and not keep.any()):
        return None
    columns: dict[str, pa.Array] = {"user_id": user.select(keep), "item_id": item.select(keep)}
    if weights is not None:
        columns["weight"] = pa.array(weights if keep is None else weights[keep])
    if times is not None:
        columns["timestamp"] = pa.array(times if keep is None else times[keep])
    return pa.RecordBatch.from_pydict(columns)
