"""The bytes of one value in the encoding that a record's rank is computed from. `ranks` defines the encoding."""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from serving_client.contracts.ids import id_fault
from transforms.attribution.parsing.schema import NESTED

__all__ = ["ABSENT", "encode_integer", "encode_nested", "encode_text", "encode_version"]

ABSENT = b"\0"
_COUNT = struct.Struct("<I")
_HEAD = struct.Struct("<BI")
_INTEGER = struct.Struct("<Bq")
_FLOAT = struct.Struct("<d")
_DECODE = {name: msgspec.json.Decoder(kind).decode for name, kind in NESTED.items()}


def encode_text(text: str | None) -> bytes:
    """Encode a string field."""
    return ABSENT if text is None else b"\1" + _string(text)


def encode_integer(number: int | None) -> bytes:
    """Encode an integer field."""
    return ABSENT if number is None else _INTEGER.pack(1, number)


def encode_version(version: int | str | None) -> bytes:
    """Encode `model_version`, which is an integer or a string."""
    if version is None:
        return ABSENT
    return b"\1\1" + _string(version) if isinstance(version, str) else b"\1" + _INTEGER.pack(0, version)


def encode_nested(name: str, text: bytes) -> bytes:
    """Decode the JSON of one field of `NESTED` and encode its value.

    Raises:
        msgspec.MsgspecError: The text does not have the field's type.
        ValueError: The value holds an invalid id or half a surrogate pair.
        OverflowError: The value holds a number beyond float64.
    """
    value = _DECODE[name](text)
    if value is None:
        return ABSENT
    if name == "context":
        return b"\1" + _object(value)
    if name == "propensities":
        pairs = [_string(key) + _FLOAT.pack(value[key] + 0.0) for key in sorted(value)]
        return _HEAD.pack(1, len(pairs)) + b"".join(pairs)
    if not text.isascii() or b"\\" in text:  # otherwise the type has said all
        for each in value:
            if problem := id_fault(each):
                raise ValueError(f"{name} holds an id that {problem}")
    return _HEAD.pack(1, len(value)) + b"".join(map(_id, value))


@functools.lru_cache(maxsize=1 << 12)  # arms and items repeat, and an id takes at most 1 KiB
def _id(text: str) -> bytes:
    return _string(text)


def _string(text: str) -> bytes:
    data = text.encode()
    return _COUNT.pack(len(data)) + data


def _object(value: Mapping[str, Any]) -> bytes:
    return _COUNT.pack(len(value)) + b"".join([_string(key) + _any(value[key]) for key in sorted(value)])


def _any(value: Any) -> bytes:
    """Encode a value inside `context`, with one byte for its type."""
    match value:
        case None:
            return b"n"
        case bool():
            return b"t" if value else b"f"
        case int() | float():
            return b"d" + _FLOAT.pack(float(value) + 0.0)
        case str():
            return b"s" + _string(value)
        case dict():
            return b"o" + _object(value)
        case _:
            items: Sequence[Any] = value
            return b"l" + _COUNT.pack(len(items)) + b"".join(map(_any, items))
