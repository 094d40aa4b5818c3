"""Conversion of TensorProto to numpy arrays and lists of text. It reads every form that servers write."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serving_client.codec.kinds import BFLOAT16, BOOL, BY_NUMBER, MAX_RANK, STRING, CodecError, Kind
from serving_client.protocol import messages

__all__ = ["MAX_REPEATED_BYTES", "strings", "to_array", "to_arrays"]

MAX_REPEATED_BYTES = 2**28
"""Largest size of all shortened lists of one response: 256 MiB, 67 million floats. A message of ten bytes can claim
2^40 elements, and a broken server is more likely than a model that answers with so many equal values."""

_WIRE_NUMBERS = {"float_val": 5, "double_val": 6}
_MANY = 64
"""Number of floats from which reading the serialized message is faster (10,000 floats: 4 instead of 300 us)."""

Array = npt.NDArray[Any]


def to_array(proto: messages.TensorProto) -> Array:
    """Return the tensor's values as a new array.

    Raises:
        CodecError: The tensor is invalid, or its dtype cannot be read.
    """
    return _decode(proto, MAX_REPEATED_BYTES)[0]


def to_arrays(protos: Mapping[str, messages.TensorProto]) -> dict[str, Array]:
    """Return `to_array` of all outputs of a response. They share the bound MAX_REPEATED_BYTES.

    Raises:
        CodecError: A tensor is invalid. The message starts with its name.
    """
    arrays = {}
    left_bytes = MAX_REPEATED_BYTES
    for name in protos:
        try:
            arrays[name], repeated_bytes = _decode(protos[name], left_bytes)
        except CodecError as error:
            raise CodecError(f"{name}: {error}") from error
        left_bytes -= repeated_bytes
    return arrays


def strings(proto: messages.TensorProto) -> list[str]:
    """Return all strings of a DT_STRING tensor as text, row after row.

    Raises:
        CodecError: The tensor is invalid, or a string is not UTF-8.
    """
    kind = _kind(proto)
    if kind is not STRING:
        raise CodecError(f"the tensor is {kind.name}, not strings")
    values, count = _string_values(proto), math.prod(_shape(proto))
    _check_length(len(values), count, count * STRING.dtype.itemsize, MAX_REPEATED_BYTES)
    if len(values) < count:
        values += (values[-1:] or [b""]) * (count - len(values))
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError as error:
        raise CodecError(f"a string is not UTF-8: {error}") from error


def _decode(proto: messages.TensorProto, limit_bytes: int) -> tuple[Array, int]:
    """Return the array, and its size in bytes if its list was shortened (at most limit_bytes), else 0."""
    kind, shape = _kind(proto), _shape(proto)
    count = math.prod(shape)
    if kind is STRING:
        values = np.array(_string_values(proto), dtype=object)
    elif content := proto.tensor_content:
        values = _from_content(kind, content, count)
    else:
        values = _from_list(kind, getattr(proto, kind.field), proto)
    repeated_bytes = 0
    if len(values) != count:
        repeated_bytes = count * values.itemsize
        _check_length(len(values), count, repeated_bytes, limit_bytes)
        values = _filled_up(values, count)
    if kind is BFLOAT16:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    try:
        return values.reshape(shape), repeated_bytes
    except ValueError as error:  # no elements, but dimensions beyond numpy's: [0, 2^62, 2^62]
        raise CodecError(f"no array has the shape {shape}: {error}") from error


def _kind(proto: messages.TensorProto) -> Kind:
    kind = BY_NUMBER.get(proto.dtype)
    if kind is None:
        value = proto.DESCRIPTOR.fields_by_name["dtype"].enum_type.values_by_number.get(proto.dtype)
        name = value.name if value else "unknown"
        raise CodecError(f"a tensor of dtype {proto.dtype} ({name}) cannot be read")
    return kind


def _shape(proto: messages.TensorProto) -> tuple[int, ...]:
    described = proto.tensor_shape
    if described.unknown_rank:
        raise CodecError("the tensor's shape has an unknown rank")
    dims = described.dim
    if len(dims) > MAX_RANK:
        raise CodecError(f"the tensor has {len(dims)} dimensions, at most {MAX_RANK} can be read")
    shape = tuple([dim.size for dim in dims])
    if shape and min(shape) < 0:
        raise CodecError(f"the tensor's shape {shape} has a negative dimension")
    return shape


def _check_length(length: int, count: int, count_bytes: int, limit_bytes: int) -> None:
    if length > count:
        raise CodecError(f"{length} values for a shape of {count} elements")
    if length < count and count_bytes > limit_bytes:
        raise CodecError(f"{length} values for a shape of {count} elements; {limit_bytes} bytes may be repeated values")


def _filled_up(values: Array, count: int) -> Array:
    if values.dtype == STRING.dtype:
        filled = np.full(count, b"", dtype=object)
    else:
        filled = np.zeros(count, dtype=values.dtype)
    filled[: len(values)] = values
    if len(values):
        filled[len(values) :] = values[-1]
    return filled


def _from_content(kind: Kind, content: bytes, count: int) -> Array:
    if len(content) != count * kind.dtype.itemsize:
        raise CodecError(
            f"{len(content)} bytes of content for a shape of {count} elements {kind.name}, "
            f"{kind.dtype.itemsize} bytes each"
        )
    if kind is BOOL:  # numpy defines only the bytes 0 and 1 as booleans
        return np.frombuffer(content, np.uint8).astype(np.bool_)
    return np.frombuffer(content, kind.dtype).copy()


def _from_list(kind: Kind, values: Sequence[Any], proto: messages.TensorProto) -> Array:
    """Return the numbers that a `*_val` list holds, in the tensor's dtype."""
    array = None
    if len(values) >= _MANY and kind.field in _WIRE_NUMBERS:
        array = _packed(proto, _WIRE_NUMBERS[kind.field], kind, len(values))
    if array is None:
        array = np.fromiter(values, kind.carrier, len(values))
    if kind.carrier == kind.dtype:
        return array
    if kind.dtype.kind == "c":
        if len(array) % 2:
            raise CodecError(f"{len(array)} numbers in {kind.field}: complex values are pairs")
        return array.view(kind.dtype)
    bits = np.dtype(np.uint16) if kind.field == "half_val" else kind.dtype
    bounds = np.iinfo(bits)
    if len(array) and (array.min() < bounds.min or array.max() > bounds.max):
        raise CodecError(f"{kind.field} holds values beyond {bits}")
    return array.astype(bits).view(kind.dtype)


def _packed(proto: messages.TensorProto, number: int, kind: Kind, length: int) -> Array | None:
    """Read a packed list of fixed width from the message's bytes. Return None if the list is not in one piece.

    Before protobuf 7 a list is iterated over number by number, which takes a hundred times as long.
    """
    message = proto.SerializeToString()
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        if key & 7 == 0:
            _, position = _varint(message, position)
        elif key & 7 == 2:
            size, position = _varint(message, position)
            if key >> 3 == number:
                whole = size == length * kind.dtype.itemsize
                return np.frombuffer(message, kind.dtype, length, position).copy() if whole else None
            position += size
        else:
            return None
    return None


def _string_values(proto: messages.TensorProto) -> list[bytes]:
    """Return the strings that are there. In the content they are their lengths as varints, then all their bytes."""
    content = proto.tensor_content
    if not content:
        return list(proto.string_val)
    count = math.prod(_shape(proto))
    if count > len(content):
        raise CodecError(f"{len(content)} bytes of content for {count} strings")
    lengths, position = [], 0
    for _ in range(count):
        length, position = _varint(content, position)
        lengths.append(length)
    if position + sum(lengths) != len(content):
        raise CodecError(f"{len(content)} bytes of content for strings of {sum(lengths)} bytes together")
    values = []
    for length in lengths:
        values.append(content[position : position + length])
        position += length
    return values


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Read a varint: seven bits per byte, the lowest first. Return the value and where it ends."""
    value = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise CodecError("a length in the content runs past its end")
