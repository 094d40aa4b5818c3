"""Convert a column of weights to floats: finite numbers of at least 0."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.interactions.files import FileFault
from transforms.interactions.times import is_number

__all__ = ["to_weights", "weight_fault"]


def to_weights(column: pa.Array, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Convert a column to weights.

    Args:
        column: Numbers or text [rows], also dictionary-encoded.
        name: Name of the column, for the error message.

    Returns:
        Weights, float64 [rows]; and which rows have no weight that is finite and at least 0, bool [rows].

    Raises:
        FileFault: The column has a type that holds no numbers.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        numbers = column.cast(pa.float64(), safe=False)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        numbers = _parse_weights(column.cast(pa.string()))
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        numbers = _parse_weights(column)
    else:
        raise FileFault(f"column {name} has type {kind}; weights are numbers")
    values = pc.fill_null(numbers, math.nan).to_numpy(zero_copy_only=False)
    bad = ~((values >= 0) & (values < math.inf))  # NaN compares false
    return values + 0.0, bad  # turns -0.0 into 0.0, so that equal weights have equal bytes


def weight_fault(value: Any, name: str, quoted: str) -> str:
    """Explain why `to_weights` rejected a value.

    Args:
        value: None, a number or a text.
        name: Name of the column.
        quoted: The value as the message shows it.
    """
    if value is None or value in ("", b""):
        return f"{name} is missing"
    try:
        number = float(value)
    except (TypeError, ValueError):
        return f"{name} {quoted} is not a number"
    if not math.isfinite(number):
        return f"{name} {quoted} is not finite"
    return f"{name} {quoted} is negative" if number < 0 else f"{name} {quoted} is not a number"


def _parse_weights(column: pa.Array) -> pa.Array:
    try:
        return column.cast(pa.string()).cast(pa.float64())
    except pa.ArrowInvalid:  # some value is not a number, or has a spelling that Arrow does not accept
        return pa.array([_parse_weight(value) for value in column.to_pylist()], pa.float64())


def _parse_weight(value: str | bytes | None) -> float | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return float(value) if value is not None and is_number(value) else None
