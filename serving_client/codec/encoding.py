"""Conversion of Python values and numpy arrays to TensorProto. The package's docstring has the rules."""

from __future__ import annotations

import itertools
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from serving_client.codec.kinds import BFLOAT16, BOOL, BY_DTYPE, FLOAT, INT64, MAX_RANK, STRING, CodecError
from serving_client.protocol import messages

__all__ = ["MAX_CONTENT_BYTES", "to_tensor", "write_tensor"]

MAX_CONTENT_BYTES = 2**31 - 2**16
"""protobuf's limit for a message is 2 GiB. This leaves room for names and shapes."""
_TEXT_KINDS = "USOT"


def to_tensor(value: Any, dtype: npt.DTypeLike | None = None) -> messages.TensorProto:
    """Make a TensorProto.

    Args:
        value: A numpy array, a (nested) list or tuple, or one value.
        dtype: dtype of the tensor. None derives it from the value.

    Raises:
        CodecError: No tensor can hold the value.
    """
    proto = messages.TensorProto()
    _write(proto, value, dtype)
    return proto


def write_tensor(proto: messages.TensorProto, value: Any, dtype: npt.DTypeLike | None = None) -> None:
    """Write a value into an existing message such as `request.inputs["history"]`, and drop its old contents.

    Args:
        proto: The message.
        value: As in `to_tensor`.
        dtype: As in `to_tensor`.

    Raises:
        CodecError: No tensor can hold the value. The message must not be sent then.
    """
    proto.Clear()
    _write(proto, value, dtype)


def _write(proto: messages.TensorProto, value: Any, dtype: npt.DTypeLike | None) -> None:
    if isinstance(value, np.ndarray | np.generic) and not isinstance(value, str | bytes):  # np.str_ is both
        _write_array(proto, value, dtype)
        return
    if dtype is None:
        _write_values(proto, value)
        return
    if np.dtype(dtype).kind in _TEXT_KINDS:
        shape, flat, first = _flatten(value)
        if not flat or isinstance(first, str | bytes):
            _write_strings(proto, shape, flat)
            return
    _write_array(proto, _as_array(value), dtype)


def _write_values(proto: messages.TensorProto, value: Any) -> None:
    """Write lists, tuples and single values of Python.

    struct is strict, whereas numpy turns None into nan and "2" into 2.0.
    """
    shape, flat, first = _flatten(value)
    kind = type(first)
    if isinstance(first, str | bytes):
        _write_strings(proto, shape, flat)
    elif kind is float or not flat:
        _write_content(proto, FLOAT.number, shape, _pack("f", flat))
    elif kind is bool and all(type(item) is bool for item in flat):
        _write_content(proto, BOOL.number, shape, bytes(flat))
    elif kind is int or kind is bool:
        try:
            _write_content(proto, INT64.number, shape, struct.pack(f"<{len(flat)}q", *flat))
        except struct.error as error:
            if not any(isinstance(item, float) for item in flat):
                raise CodecError(f"not all values fit int64 ({error}); pass dtype=, or only integers") from error
            _write_content(proto, FLOAT.number, shape, _pack("f", flat))
    else:
        _write_array(proto, _as_array(value), None)


def _write_array(proto: messages.TensorProto, array: npt.NDArray[Any] | np.generic, dtype: Any) -> None:
    if dtype is not None:
        array = _cast(np.asarray(array), np.dtype(dtype))
    kind = BY_DTYPE.get(array.dtype)
    if kind is not None:
        number = kind.number
    elif array.dtype.kind in _TEXT_KINDS:
        _write_strings(proto, array.shape, array.reshape(-1).tolist())
        return
    elif array.dtype.newbyteorder("<") in BY_DTYPE:
        array = array.astype(array.dtype.newbyteorder("<"))
        number = BY_DTYPE[array.dtype].number
    elif array.dtype.name == "bfloat16":  # from the package ml_dtypes, if the caller uses it
        number = BFLOAT16.number
    else:
        raise CodecError(f"a tensor cannot hold dtype {array.dtype}; convert the array")
    if array.nbytes > MAX_CONTENT_BYTES:  # check before tobytes, because a broadcast array takes no memory until then
        raise CodecError(f"{array.nbytes} bytes exceed the {MAX_CONTENT_BYTES} of one message; send the array in parts")
    _write_content(proto, number, array.shape, array.tobytes())


def _write_content(proto: messages.TensorProto, number: int, shape: tuple[int, ...], content: bytes) -> None:
    proto.dtype = number
    _write_shape(proto, shape)
    proto.tensor_content = content


def _write_strings(proto: messages.TensorProto, shape: tuple[int, ...], flat: list[Any] | tuple[Any, ...]) -> None:
    proto.dtype = STRING.number
    _write_shape(proto, shape)
    values = proto.string_val
    try:
        if flat and isinstance(flat[0], str):
            try:
                values.extend([item.encode() for item in flat])
                return
            except AttributeError:  # bytes among text
                pass
        try:
            values.extend(flat)
        except TypeError:  # text among bytes; protobuf has added nothing
            values.extend([item.encode() if isinstance(item, str) else item for item in flat])
    except TypeError as error:
        raise CodecError(f"not all values are strings: {error}") from error
    except UnicodeEncodeError as error:
        raise CodecError(f"a string has no UTF-8 form: {error}") from error


def _write_shape(proto: messages.TensorProto, shape: tuple[int, ...]) -> None:
    dims = proto.tensor_shape.dim
    for size in shape:
        dims.add().size = size
    if not shape:
        proto.tensor_shape.SetInParent()  # a scalar's shape is empty, not absent


def _flatten(value: Any) -> tuple[tuple[int, ...], Any, Any]:
    """Return the shape, the values row after row, and the first value (None if there are none)."""
    if not isinstance(value, list | tuple):
        return (), (value,), value
    shape = [len(value)]
    flat: Any = value
    while flat and isinstance(flat[0], list | tuple):
        width = len(flat[0])
        for row in flat:
            if not isinstance(row, list | tuple) or len(row) != width:
                raise CodecError(f"lists have unequal lengths or depths at level {len(shape)}; pad them")
        shape.append(width)
        if len(shape) > MAX_RANK:
            raise CodecError(f"lists nest deeper than {MAX_RANK} levels")
        flat = list(itertools.chain.from_iterable(flat))
    return tuple(shape), flat, flat[0] if flat else None


def _pack(letter: str, flat: Any) -> bytes:
    try:
        return struct.pack(f"<{len(flat)}{letter}", *flat)
    except (struct.error, OverflowError) as error:
        raise CodecError(f"not all values fit float32 ({error}); pass dtype=, or only numbers") from error


def _as_array(value: Any) -> npt.NDArray[Any]:
    """Return the numpy array of a value of another type, or of a value for which a dtype was given."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise CodecError(f"not an array of one type and shape: {error}") from error
    if array.dtype.kind in _TEXT_KINDS and (isinstance(value, list | tuple) or not array.shape):
        for item in _flatten(value)[1]:  # numpy would convert numbers among strings to text
            if not isinstance(item, str | bytes) and getattr(item, "dtype", np.dtype(float)).kind not in _TEXT_KINDS:
                raise CodecError(f"{type(item).__name__} cannot be in a tensor, or not among values of another type")
    return array


def _cast(array: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Cast the array. Raise CodecError for values that the dtype cannot hold. Floats may lose digits."""
    if (array.dtype.kind in _TEXT_KINDS) != (dtype.kind in _TEXT_KINDS):
        raise CodecError(f"{array.dtype} values cannot become {dtype}")
    if dtype.kind in _TEXT_KINDS or array.dtype == dtype:
        return array
    refusal = f"not all {array.dtype} values fit {dtype}"
    if array.dtype.kind == "c" and dtype.kind != "c":
        raise CodecError(refusal)
    try:
        with np.errstate(over="raise", invalid="raise"):
            cast = array.astype(dtype)
    except (FloatingPointError, TypeError, ValueError) as error:
        raise CodecError(f"{refusal}: {error}") from error
    if dtype.kind in "iub" and not np.array_equal(cast, array):
        raise CodecError(refusal)
    return cast
