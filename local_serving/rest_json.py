"""Convert JSON bodies to Predict requests and results to JSON, like TensorFlow Serving's util/json_tensor.cc.

There are two formats: rows (`instances` in, `predictions` out, one entry per row) and columns (`inputs` in, `outputs`
out, one entry per tensor). Values have the types of the signature. A value that a type cannot hold without loss is
rejected with the real server's message. Bytes are {"b64": …} in any string input, and in string outputs whose name ends
in `_bytes`.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import grpc
import numpy as np

from local_serving.errors import Status
from serving_client import codec

__all__ = ["fill_request", "written"]

HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""May be half a surrogate pair, which neither a message nor UTF-8 can hold."""
LARGE = re.compile(rb"[0-9]{300}|[eE]\+?0*[0-9]{3}")
"""May be a number that a double cannot hold."""
FLOAT_MAX = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class _Kind:
    """How JSON holds values of a dtype: the field of TensorProto, and a check of a value's type."""

    name: str
    field: str
    holds: Callable[[Any], bool]
    digits: int = 0
    """Bits of a float type's mantissa. Larger whole numbers lose precision."""


def _whole(bits: int, signed: bool = True) -> Callable[[Any], bool]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    return lambda value: type(value) is int and low <= value < high


def _number(value: Any) -> bool:
    return type(value) in (int, float)


KINDS: Mapping[int, _Kind] = {
    1: _Kind("float", "float_val", _number, 24),
    2: _Kind("double", "double_val", _number, 53),
    3: _Kind("int32", "int_val", _whole(32)),
    4: _Kind("uint8", "int_val", _whole(32)),
    5: _Kind("int16", "int_val", _whole(32)),
    6: _Kind("int8", "int_val", _whole(32)),
    7: _Kind("string", "string_val", lambda value: type(value) is str),
    9: _Kind("int64", "int64_val", _whole(64)),
    10: _Kind("bool", "bool_val", lambda value: type(value) is bool),
    22: _Kind("uint32", "uint32_val", _whole(32, signed=False)),
    23: _Kind("uint64", "uint64_val", _whole(64, signed=False)),
}
"""Kinds by the number of tensorflow.DataType."""
STRING = 7


def fill_request(body: bytes, request: Any, inputs_of: Callable[[str], Mapping[str, Any]]) -> bool:
    """Fill a PredictRequest, which has its model's name, from a JSON body.

    Args:
        body: The JSON.
        request: PredictRequest to fill.
        inputs_of: Returns TensorInfo by alias for a signature's name, "" for the default signature.

    Returns:
        True if the body is in the row format.

    Raises:
        Status: INVALID_ARGUMENT for a bad body, UNIMPLEMENTED for types that JSON cannot hold, and the errors of
            inputs_of.
    """
    document = _parse(body)
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        _invalid(
            f"JSON Value: {_shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    request.model_spec.signature_name = name
    infos = inputs_of(name)
    if not infos:
        _invalid(f"Failed to get input map for signature: {name or 'DEFAULT'}")
    if "instances" in document and "inputs" in document:
        _invalid(
            f"JSON Value: {_shown(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    if "instances" in document:
        rows = document["instances"]
        if not isinstance(rows, list):
            _invalid(f"JSON Value: {_shown(document)} Excepting 'instances' to be an list/array")
        if not rows:
            _invalid(f"JSON Value: {_shown(document)} No values in 'instances' array")
        _fill_rows(rows, infos, request.inputs)
        return True
    if "inputs" not in document:
        _invalid("Missing 'inputs' or 'instances' key")
    _fill_columns(document["inputs"], infos, request.inputs)
    return False


def written(outputs: Mapping[str, Any], rows: bool) -> bytes:
    """Return the JSON body that answers with TensorProtos. Raise Status INVALID_ARGUMENT if they do not form rows."""
    arrays = codec.to_arrays({name: outputs[name] for name in sorted(outputs)})
    if not arrays:
        _invalid("Cannot convert empty tensor map to JSON")
    if rows:
        _check_rows(arrays)
    values = {name: _listed(name, array) for name, array in arrays.items()}
    content: Any = next(iter(values.values())) if len(values) == 1 else values
    if rows and len(values) > 1:
        content = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    text = json.dumps({"predictions" if rows else "outputs": content}, ensure_ascii=False, indent=None)
    # Strings of a model may not be UTF-8. Their bytes are sent unchanged.
    return text.encode("utf-8", "surrogateescape")


def _parse(body: bytes) -> dict[str, Any]:
    if not body:
        _invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body.decode("utf-8"), parse_float=_finite if LARGE.search(body) else None)
        if HALF.search(body):
            _shown(document).encode()
    except UnicodeEncodeError:
        _invalid("JSON Parse error: The surrogate pair in string is invalid. at offset: 0")
    except UnicodeDecodeError as error:
        _invalid(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}")
    except json.JSONDecodeError as error:
        _invalid(f"JSON Parse error: {error.msg}. at offset: {error.pos}")
    except (RecursionError, ValueError) as error:  # ValueError: a number that is too large
        _invalid(f"JSON Parse error: {error}. at offset: 0")
    if not isinstance(document, dict):
        _invalid(f"JSON Value: {_shown(document)} Is not object")
    return document


def _finite(text: str) -> float:
    """Parse a float as RapidJSON does, which accepts Infinity but not 1e999."""
    value = float(text)
    if math.isinf(value):
        raise ValueError("Number too big to be stored in double")
    return value


def _fill_rows(rows: list[Any], infos: Mapping[str, Any], tensors: Any) -> None:
    if not isinstance(rows[0], dict) and len(infos) > 1:
        _invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    objects = _is_object(rows[0])
    shapes: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        if objects and not _is_object(row):
            _invalid(f"Expecting object but got list at item {number} of input list")
        if not objects and _is_object(row):
            _invalid(f"Expecting value/list but got object at item {number} of input list")
        for name, value in (row if objects else {next(iter(infos)): row}).items():
            try:
                _add_row(name, value, infos, shapes, tensors)
            except Status as error:
                key = f" key: {name}" if objects else ""
                _invalid(f"Failed to process element: {number}{key} of 'instances' list. Error: {error}")
        if objects and row.keys() != set(infos):
            _invalid(
                f"Failed to process element: {number} of 'instances' list. JSON object: {_shown(row)} keys must be "
                f"equal to: {','.join(sorted(infos))}"
            )
    for name, shape in shapes.items():
        _describe(tensors[name], infos[name].dtype, [len(rows), *shape])


def _add_row(name: str, value: Any, infos: Mapping[str, Any], shapes: dict[str, list[int]], tensors: Any) -> None:
    if name not in infos:
        _invalid(f"JSON object: does not have named input: {name}")
    shape = _shape(value)
    _fill(value, shape, infos[name].dtype, tensors[name])
    known = shapes.setdefault(name, shape)
    if known != shape:
        if np.prod(known) != np.prod(shape):
            _invalid(f"Expecting tensor size: {int(np.prod(known))} but got: {int(np.prod(shape))}")
        _invalid(f"Expecting shape {_bracketed(known)} but got: {_bracketed(shape)}")


def _fill_columns(value: Any, infos: Mapping[str, Any], tensors: Any) -> None:
    if not _is_object(value):
        if len(infos) > 1:
            _invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        value = {next(iter(infos)): value}
    for name in sorted(infos):
        if name not in value:
            _invalid(f"Missing named input: {name} in 'inputs' object.")
        shape = _shape(value[name])
        _fill(value[name], shape, infos[name].dtype, tensors[name])
        _describe(tensors[name], infos[name].dtype, shape)


def _describe(tensor: Any, dtype: int, shape: list[int]) -> None:
    tensor.dtype = dtype
    tensor.tensor_shape.SetInParent()
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)


def _shape(value: Any) -> list[int]:
    """Return the shape of the first entries. `_fill` checks that all others agree."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return shape


def _fill(value: Any, shape: list[int], dtype: int, tensor: Any) -> None:
    found: list[Any] = []
    _walk(value, 0, shape, dtype, found)
    if found:
        getattr(tensor, KINDS[dtype].field).extend(found)


def _walk(value: Any, level: int, shape: list[int], dtype: int, found: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            _invalid(
                f"JSON Value: {_shown(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at "
                f"level: {len(shape)}"
            )
        found.append(_converted(value, dtype))
        return
    if level >= len(shape):
        _invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        _invalid(f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}")
    for one in value:
        _walk(one, level + 1, shape, dtype, found)


def _converted(value: Any, dtype: int) -> Any:
    kind = KINDS.get(dtype)
    if isinstance(value, dict) and dtype == STRING:
        return _decoded(value)
    if kind is None:
        message = f"Conversion of JSON Value: {_shown(value)} to type: {dtype}"
        raise Status(grpc.StatusCode.UNIMPLEMENTED, message)
    if not kind.holds(value):
        _invalid(f"JSON Value: {_shown(value)} Type: {_type_name(value)} is not of expected type: {kind.name}")
    if kind.digits and not _lossless(value, kind):
        _invalid(f"Cannot convert JSON value: {_shown(value)} to {kind.name} without loss of precision.")
    return value.encode("utf-8", "surrogatepass") if dtype == STRING else value


def _lossless(value: float, kind: _Kind) -> bool:
    if type(value) is int:
        return abs(value) < 1 << kind.digits
    return kind.name == "double" or not math.isfinite(value) or abs(value) <= FLOAT_MAX


def _decoded(value: dict[str, Any]) -> bytes:
    if not _is_b64(value):
        _invalid(f"JSON Value: {_shown(value)} not formatted correctly for base64 data")
    text = value["b64"]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        _invalid("Unable to base64 decode")


def _check_rows(arrays: Mapping[str, Any]) -> None:
    size = None
    for name, array in arrays.items():
        if array.ndim == 0:
            _invalid(f"Tensor name: {name} has no shape information ")
        if size is not None and len(array) != size:
            _invalid(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {size}")
        size = len(array)


def _listed(name: str, array: Any) -> Any:
    """Return nested lists that json can write."""
    if array.dtype == object:
        as_bytes = name.endswith("_bytes")
        flat = [
            {"b64": base64.b64encode(one).decode()} if as_bytes else one.decode("utf-8", "surrogateescape")
            for one in array.ravel().tolist()
        ]
        boxed = np.empty(len(flat), object)
        boxed[:] = flat
        return boxed.reshape(array.shape).tolist()
    if array.dtype.kind == "f" and array.dtype.itemsize < 8:
        # The shortest digits that identify the float32: 0.2, not 0.20000000298023224.
        return np.asarray([float(text) for text in array.ravel().astype(str)]).reshape(array.shape).tolist()
    return array.tolist()


def _is_b64(value: dict[str, Any]) -> bool:
    return len(value) == 1 and isinstance(value.get("b64"), str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_b64(value)


def _type_name(value: Any) -> str:
    names = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number", type(None): "Null"}
    return str(value) if isinstance(value, bool) else names[type(value)]


def _shown(value: Any) -> str:
    return json.dumps(value, indent=4, ensure_ascii=False)


def _bracketed(shape: list[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _invalid(message: str) -> NoReturn:
    raise Status(grpc.StatusCode.INVALID_ARGUMENT, message)
