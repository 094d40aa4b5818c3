"""Encode what a runner keeps for reward_stream: source marks, shard and publisher state, and messages to the publisher.

The first byte is the version of the encoding. MessagePack of plain values follows. A dataclass is a map by field name,
a named tuple is an array, and an integer of more than 64 bits is an extension. No class path is stored, so modules can
move. A change of a field's name, order or meaning needs another version.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from transforms.errors import Refused

__all__ = ["decode", "encode", "narrow"]

_VERSION = 2
_VERSION_BYTE = bytes([_VERSION])
_WIDE = 1  # extension code: a signed big-endian integer
_PICKLE = 0x80  # the first byte of every pickle since protocol 2

_T = TypeVar("_T")


def encode(value: Any) -> bytes:
    """Encode a value with the version in front.

    Args:
        value: Plain values, dataclasses and tuples; `collections.deque` counts as a list.

    Returns:
        The version byte, then MessagePack.
    """
    try:
        return _VERSION_BYTE + _ENCODER.encode(value)
    except OverflowError:
        return _VERSION_BYTE + _ENCODER.encode(narrow(value))


def decode(data: bytes, kind: type[_T]) -> _T:
    """Decode what `encode` wrote.

    Args:
        data: The bytes of `encode`.
        kind: Type of the value. `object` leaves lists, tuples and maps plain.

    Returns:
        The value.

    Raises:
        Refused: Another version of recbeam wrote the bytes.
    """
    version = data[0] if data else None
    if version != _VERSION:
        written = "no version" if version is None else "pickled objects" if version == _PICKLE else f"version {version}"
        raise Refused(
            f"the runner's saved state has {written}, and this recbeam reads version {_VERSION}; start a new job "
            f"without the runner's savepoint, and it continues from the checkpoint in --state"
        )
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.msgpack.Decoder(kind, dec_hook=_to_container, ext_hook=_to_wide)
    value: _T = decoder.decode(memoryview(data)[1:])
    return value


def narrow(value: Any) -> Any:
    """Replace integers of more than 64 bits by extensions, in lists, tuples and maps, too.

    Args:
        value: Plain values.

    Returns:
        The same values, which `encode` need not search for wide integers.
    """
    if isinstance(value, int):
        if -(1 << 63) <= value < 1 << 64:
            return value
        return msgspec.msgpack.Ext(_WIDE, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    if isinstance(value, Mapping):
        return {key: narrow(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [narrow(each) for each in value]
    if dataclasses.is_dataclass(value):
        return {field.name: narrow(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def _to_wide(_code: int, data: memoryview) -> int:
    return int.from_bytes(data, "big", signed=True)


def _from_container(value: Any) -> Any:
    if isinstance(value, deque):
        return list(value)
    raise NotImplementedError(f"{type(value).__name__} cannot be encoded")


def _to_container(kind: Any, value: Any) -> Any:
    """Rebuild a `Counter` or a `deque`, with typed elements."""
    origin, arguments = getattr(kind, "__origin__", kind), getattr(kind, "__args__", ())
    if origin is Counter:
        return Counter(msgspec.convert(value, dict[arguments[0], int]))  # type: ignore[valid-type]
    if origin is deque:
        return deque(msgspec.convert(value, list[arguments[0]], dec_hook=_to_container))  # type: ignore[valid-type]
    raise NotImplementedError(f"{kind} cannot be decoded")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_from_container)
_DECODERS: dict[Any, msgspec.msgpack.Decoder[Any]] = {}
