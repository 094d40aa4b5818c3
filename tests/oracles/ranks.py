"""The rank of a record, written a second time from the specification: one record, one field after another."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import Any

__all__ = ["rank_of"]

_DECISION = (
    "decision_id bandit_id policy_epoch segment arm_id arm_generation propensity decided_at propensities eligible_arms "
    "draw rung snapshot_version config_hash served_by fallback_reason model_version context features feature_schema "
    "items user_key bot holdback received_at"
).split()
_REWARD = "event_id decision_id kind value occurred_at item_id position received_at".split()
_NUMBERS = {"propensity", "draw", "value"}


def rank_of(record: Mapping[str, Any]) -> int:
    """Of records with one id and one event time the one with the smallest rank wins."""
    names = _REWARD if "event_id" in record else _DECISION
    data = b"".join(_field(name, record.get(name)) for name in names)
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def _field(name: str, value: Any) -> bytes:
    if value is None:
        return b"\x00"
    return b"\x01" + _value(name, value)


def _value(name: str, value: Any) -> bytes:
    if name in _NUMBERS:
        return _number(value)
    if name == "features":
        return _size(value) + b"".join(map(_number, value))
    if name == "propensities":
        return _size(value) + b"".join(_text(key) + _number(value[key]) for key in _sorted(value))
    if name == "context":
        return _table(value)
    if isinstance(value, bool):
        return struct.pack("<B", value)
    if isinstance(value, list):
        return _size(value) + b"".join(map(_text, value))
    plain = _text(value) if isinstance(value, str) else struct.pack("<q", value)
    if name == "model_version":
        return (b"\x01" if isinstance(value, str) else b"\x00") + plain
    return plain


def _table(value: dict[str, Any]) -> bytes:
    return _size(value) + b"".join(_text(key) + _tagged(value[key]) for key in _sorted(value))


def _tagged(value: Any) -> bytes:
    """A value of any type, as it may stand in a context."""
    if value is None:
        return b"n"
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if isinstance(value, str):
        return b"s" + _text(value)
    if isinstance(value, list):
        return b"l" + _size(value) + b"".join(_tagged(each) for each in value)
    if isinstance(value, dict):
        return b"o" + _table(value)
    return b"d" + _number(value)


def _size(value: Any) -> bytes:
    return struct.pack("<I", len(value))


def _text(text: str) -> bytes:
    return _size(text.encode()) + text.encode()


def _number(number: float) -> bytes:
    return struct.pack("<d", 0.0 if number == 0 else float(number))


def _sorted(table: dict[str, Any]) -> list[str]:
    return sorted(table, key=str.encode)
