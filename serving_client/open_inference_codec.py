"""Conversion between arrays and tensors of the Open Inference Protocol v2, with raw bytes or typed contents.

Raw contents are the array's little-endian bytes. A string has its length before it, as four bytes. Raw contents lie
beside the tensors, in the same order, for all tensors or none. Typed contents lie in the tensor, in the field of its
datatype. FP16 and BF16 have no typed contents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["read_tensors", "write_tensor"]

_DTYPES: dict[str, str] = {
    "BOOL": "|b1",
    "UINT8": "|u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "|i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_DATATYPES = {np.dtype(code): name for name, code in _DTYPES.items()}
_FIELDS: dict[str, str] = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_LENGTH_BYTES = 4


def write_tensor(request: Any, name: str, value: Any, raw: bool) -> None:
    """Add an input to a ModelInferRequest.

    Args:
        request: The request.
        name: Name of the input.
        value: An array, nested lists of numbers, bool, str or bytes, or one of those values. An array keeps its dtype.
            In lists Python's floats become FP32 and integers INT64.
        raw: Write raw contents. The same for all inputs of a request.

    Raises:
        TypeError: The protocol has no datatype for the value.
        ValueError: Lists have unequal lengths, or FP16 is not sent raw.
    """
    array = _array(value)
    datatype = "BYTES" if array.dtype == object else _DATATYPES.get(array.dtype.newbyteorder("<"))
    if datatype is None:
        raise TypeError(f"dtype {array.dtype} has no datatype in the Open Inference Protocol")
    tensor = request.inputs.add(name=name, datatype=datatype, shape=array.shape)
    if not raw:
        if datatype not in _FIELDS:
            raise ValueError(f"{datatype} has no typed contents; send it raw")
        getattr(tensor.contents, _FIELDS[datatype]).extend(array.ravel().tolist())
    elif datatype == "BYTES":
        strings = array.ravel().tolist()
        packed = [part for item in strings for part in (len(item).to_bytes(_LENGTH_BYTES, "little"), item)]
        request.raw_input_contents.append(b"".join(packed))
    else:
        request.raw_input_contents.append(array.astype(_DTYPES[datatype], copy=False).tobytes())


def read_tensors(response: Any) -> dict[str, npt.NDArray[Any]]:
    """Read the outputs of a ModelInferResponse.

    It needs no more memory than the contents, whatever shape the server claims.

    Args:
        response: The response.

    Returns:
        Writable arrays by name. BYTES become object arrays of bytes, BF16 becomes float32.

    Raises:
        ValueError: A datatype is unknown, contents do not fill the shape exactly, or only some outputs have raw
            contents.
    """
    raws: Sequence[bytes] = response.raw_output_contents
    if raws and len(raws) != len(response.outputs):
        raise ValueError(f"{len(raws)} raw contents for {len(response.outputs)} outputs")
    arrays: dict[str, npt.NDArray[Any]] = {}
    for place, output in enumerate(response.outputs):
        if output.name in arrays:
            raise ValueError(f"two outputs are called {output.name!r}")
        shape = tuple(output.shape)
        if any(size < 0 for size in shape):
            raise ValueError(f"output {output.name!r} has the shape {list(shape)}")
        values = _from_raw(output, raws[place]) if raws else _from_typed(output)
        if values.size != math.prod(shape):
            raise ValueError(
                f"output {output.name!r} has {values.size} values for the shape {list(shape)}, {math.prod(shape)}"
            )
        arrays[output.name] = values.reshape(shape)
    return arrays


def _array(value: Any) -> npt.NDArray[Any]:
    """Return an array of a dtype that numpy and the protocol share. Strings become an object array of bytes."""
    array = np.asarray(value)
    if array.dtype.kind in "US" or array.dtype == object:
        # Not from `array`: numpy strips NUL from the end of bytes and joins str and bytes by their repr.
        array = np.asarray(value, dtype=object)
        flat = np.empty(array.size, dtype=object)
        flat[:] = [_bytes(item) for item in array.ravel().tolist()]
        return flat.reshape(array.shape)
    if array.dtype == np.float64 and not isinstance(value, np.ndarray | np.generic):
        return array.astype(np.float32)
    return array


def _bytes(item: object) -> bytes:
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, bytes):
        return item
    raise TypeError(f"{item!r:.40} is {type(item).__name__}, neither a number of a dtype nor str nor bytes")


def _from_raw(output: Any, raw: bytes) -> npt.NDArray[Any]:
    datatype = output.datatype
    if datatype == "BYTES":
        return _strings(output.name, raw)
    if datatype == "BF16":
        _check_whole(output, raw, 2)
        upper_halves: npt.NDArray[np.uint32] = np.frombuffer(raw, "<u2").astype(np.uint32)
        return (upper_halves << np.uint32(16)).view(np.float32)
    if datatype not in _DTYPES:
        raise ValueError(f"output {output.name!r} has the unknown datatype {datatype!r}")
    dtype = np.dtype(_DTYPES[datatype])
    _check_whole(output, raw, dtype.itemsize)
    if datatype == "BOOL":
        return np.frombuffer(raw, np.uint8).astype(np.bool_)
    return np.frombuffer(raw, dtype).astype(dtype.newbyteorder("="))


def _check_whole(output: Any, raw: bytes, item_bytes: int) -> None:
    if len(raw) % item_bytes:
        raise ValueError(f"output {output.name!r} has {len(raw)} bytes, {output.datatype} has {item_bytes} a value")


def _strings(name: str, raw: bytes) -> npt.NDArray[Any]:
    found: list[bytes] = []
    at = 0
    while at < len(raw):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(raw[at:start], "little")
        if start > len(raw) or at > len(raw):
            raise ValueError(f"output {name!r} ends inside its string {len(found)}")
        found.append(raw[start:at])
    array = np.empty(len(found), dtype=object)
    array[:] = found
    return array


def _from_typed(output: Any) -> npt.NDArray[Any]:
    datatype = output.datatype
    if datatype not in _FIELDS:
        raise ValueError(f"output {output.name!r} has the datatype {datatype!r}, which has no typed contents")
    values = getattr(output.contents, _FIELDS[datatype])
    if datatype == "BYTES":
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array
    try:
        return np.array(values, dtype=np.dtype(_DTYPES[datatype]).newbyteorder("="))
    except OverflowError as error:
        raise ValueError(f"output {output.name!r}: {error}") from error
