"""Read one line: a record, or the reason why the line is malformed. This is the rule that defines a good record.

`reading` decodes most lines with the record's type alone and calls `read_line` for the others.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

from serving_client.contracts.ids import id_fault
from serving_client.contracts.times import parse_time
from transforms.attribution.parsing.encoding import encode_nested
from transforms.attribution.parsing.schema import NESTED, Decision, Reward

__all__ = ["IDS", "MOST_NESTED", "Malformed", "decoder_of", "read_line"]

T = TypeVar("T", Decision, Reward)

MOST_NESTED = 254
"""Most objects and arrays inside each other, the record included. It is far from Python's recursion limit."""
IDS: dict[type, tuple[str, ...]] = {
    Decision: ("decision_id", "bandit_id", "segment", "arm_id", "served_by", "user_key"),
    Reward: ("event_id", "decision_id", "kind", "item_id"),
}
_TIMES: dict[type, tuple[str, ...]] = {
    Decision: ("decided_at", "received_at"),
    Reward: ("occurred_at", "received_at"),
}
_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {kind: msgspec.json.Decoder(kind) for kind in (Decision, Reward)}
_MICRO = 10**6


class Malformed(ValueError):
    """A line is not a record. The message says why."""


def decoder_of(kind: type[T]) -> msgspec.json.Decoder[T]:
    """Return the decoder of a record's type."""
    return _DECODERS[kind]


def read_line(text: bytes, kind: type[T]) -> T:
    """Read one line without its LF.

    The decoder checks the type of a value that a later one with the same key replaces, and may overflow the stack on
    deep nesting. A line that it refuses is therefore read by Python's parser first and then decoded from its known
    fields alone.

    Raises:
        Malformed: The line is not JSON, is nested more than MOST_NESTED deep, or breaks the schema.
    """
    try:
        if _may_be_deep(text):
            raise RecursionError
        record = decoder_of(kind).decode(text)
        _check(record)
    except Exception:  # whatever the decoder raises, the plain parser decides
        record = _read_plain(text, kind)
    return record


def _may_be_deep(text: bytes) -> bool:
    """Whether a line has brackets enough to be nested more than MOST_NESTED deep."""
    return len(text) > 2 * MOST_NESTED and text.count(b"{") + text.count(b"[") > MOST_NESTED


def _is_exact(value: float) -> bool:
    """Whether a reward's value has at most 6 decimal places.

    The float64 must be the one nearest to such a decimal: 0.1 + 0.2 = 0.30000000000000004 is not. Up to 1e9 two such
    decimals never share a float64, and both the rounded product and the quotient are the nearest there are, so the test
    is exact.
    """
    return round(value * _MICRO) / _MICRO == value


def _read_plain(text: bytes, kind: type[T]) -> T:
    try:
        value = json.loads(text.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise Malformed("line is not UTF-8") from error
    except RecursionError as error:
        raise Malformed(f"line is nested more than {MOST_NESTED} deep") from error
    except ValueError as error:
        raise Malformed(f"line is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Malformed("line is not a JSON object")
    if _may_be_deep(text) and _is_deep(value):
        raise Malformed(f"line is nested more than {MOST_NESTED} deep")
    known = {name: value[name] for name in kind.__struct_fields__ if name in value}
    try:
        record = decoder_of(kind).decode(json.dumps(known, ensure_ascii=False, allow_nan=False).encode())
        _check(record)
    except UnicodeEncodeError as error:
        raise Malformed("line holds half a surrogate pair") from error
    except Malformed:
        raise
    except msgspec.ValidationError as error:
        raise Malformed(str(error)) from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise Malformed("line holds a number beyond float64") from error
    return record


def _check(record: Decision | Reward) -> None:
    """Check what the type of a record cannot say."""
    kind = type(record)
    for name in IDS[kind]:
        text = getattr(record, name)
        if text is not None and (problem := id_fault(text)):
            raise Malformed(f"{name} {problem}")
    for name in _TIMES[kind]:
        text = getattr(record, name)
        try:
            if text is not None:
                parse_time(text)
        except ValueError as error:
            raise Malformed(f"{name} is not an RFC 3339 UTC time") from error
    if isinstance(record, Reward):
        if not _is_exact(record.value):
            raise Malformed("value has more than 6 decimal places")
        return
    for name in NESTED:
        try:
            encode_nested(name, bytes(getattr(record, name)))
        except msgspec.ValidationError as error:
            reason = str(error)
            place = f"`$.{name}"
            raise Malformed(reason.replace("`$", place) if "`$" in reason else f"{reason} - at {place}`") from error
        except OverflowError as error:
            raise Malformed(f"{name} holds a number beyond float64") from error
        except ValueError as error:
            raise Malformed(str(error)) from error


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a number")


def _is_deep(value: object) -> bool:
    """Whether a value is nested more than MOST_NESTED deep. Goes level by level, without recursion."""
    level, depth = [value], 0
    while level:
        nested = [each for each in level if isinstance(each, dict | list)]
        depth += bool(nested)
        if depth > MOST_NESTED:
            return True
        level = [inner for each in nested for inner in (each.values() if isinstance(each, dict) else each)]
    return False
