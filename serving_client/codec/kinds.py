"""The TensorFlow types that the codec supports, and how a TensorProto holds the values of each."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["BFLOAT16", "BOOL", "BY_DTYPE", "BY_NUMBER", "FLOAT", "INT64", "MAX_RANK", "STRING", "CodecError", "Kind"]

MAX_RANK = 64
"""Largest number of dimensions of a tensor. It is numpy's limit."""


class CodecError(ValueError):
    """A value cannot be put into a tensor, or a tensor is invalid."""


class Kind(NamedTuple):
    """One type. Encoded numbers are little-endian on every machine."""

    number: int
    """Number in the enum DataType of TensorFlow's types.proto."""
    name: str
    dtype: np.dtype[Any]
    """dtype of the array and of `tensor_content`."""
    field: str
    """The `*_val` list of TensorProto that holds such values."""
    carrier: np.dtype[Any]
    """dtype of the numbers in that list. Smaller integers are stored as int32, complex numbers as pairs."""


def _kind(number: int, name: str, dtype: str, field: str, carrier: str) -> Kind:
    return Kind(number, name, np.dtype(dtype).newbyteorder("<"), field, np.dtype(carrier).newbyteorder("<"))


FLOAT = _kind(1, "DT_FLOAT", "f4", "float_val", "f4")
INT64 = _kind(9, "DT_INT64", "i8", "int64_val", "i8")
BOOL = _kind(10, "DT_BOOL", "?", "bool_val", "?")
STRING = _kind(7, "DT_STRING", "O", "string_val", "O")
BFLOAT16 = _kind(14, "DT_BFLOAT16", "u2", "half_val", "i4")
"""The upper half of a float32. numpy lacks this type, so `dtype` is the type of the bits."""

_NUMBERS = (
    FLOAT,
    _kind(2, "DT_DOUBLE", "f8", "double_val", "f8"),
    _kind(3, "DT_INT32", "i4", "int_val", "i4"),
    _kind(4, "DT_UINT8", "u1", "int_val", "i4"),
    _kind(5, "DT_INT16", "i2", "int_val", "i4"),
    _kind(6, "DT_INT8", "i1", "int_val", "i4"),
    _kind(8, "DT_COMPLEX64", "c8", "scomplex_val", "f4"),
    INT64,
    BOOL,
    _kind(17, "DT_UINT16", "u2", "int_val", "i4"),
    _kind(18, "DT_COMPLEX128", "c16", "dcomplex_val", "f8"),
    _kind(19, "DT_HALF", "f2", "half_val", "i4"),
    _kind(22, "DT_UINT32", "u4", "uint32_val", "u4"),
    _kind(23, "DT_UINT64", "u8", "uint64_val", "u8"),
)
BY_DTYPE = {kind.dtype: kind for kind in _NUMBERS}
BY_NUMBER = {kind.number: kind for kind in (*_NUMBERS, STRING, BFLOAT16)}
