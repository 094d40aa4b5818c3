"""Which fields a decision and a reward have, and what is wrong with a record that breaks them.

`fault` is the plain rule, one record at a time, with the reason that a dead letter names; `scan` finds the few lines
worth asking it about. The JSON Schemas in serving_client.contracts.schemas say the same to other programs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from serving_client.contracts.times import parse_time

__all__ = [
    "BOOLEAN",
    "DECISION",
    "FEATURES",
    "ID",
    "IDS",
    "INTEGER",
    "MOST_ID_BYTES",
    "MOST_NESTED",
    "NUMBER",
    "NUMBERS",
    "OBJECT",
    "PROBABILITY",
    "REWARD",
    "TEXT",
    "TIME",
    "VALUE",
    "VERSION",
    "Field",
    "Kind",
    "fault",
]

LARGEST_VALUE = 10**9
"""Largest magnitude of a reward's value."""
LARGEST_FEATURE = 2**20
"""Largest magnitude of a feature: in units of 2^-10 it fits 32 bits, and a sum of products stays an exact integer."""
MOST_ID_BYTES = 1_024
MOST_NESTED = 254
"""Objects and arrays inside each other, the record itself included: what orjson writes, and far from Python's limit."""
_MICRO = 10**6


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """What values a field takes: exactly these Python types of parsed JSON, and what `fault` finds nothing wrong with.

    `noun` completes "FIELD is no …"; `fault` completes "FIELD …" and is empty for a good value.
    """

    noun: str
    types: frozenset[type]
    fault: Callable[[Any], str] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One field of a record."""

    name: str
    kind: Kind
    required: bool = False

    @property
    def types(self) -> frozenset[type]:
        """The types of parsed JSON that may stand here; null is as good as absent."""
        return self.kind.types if self.required else self.kind.types | {type(None)}


def fault(fields: Sequence[Field], values: Sequence[Any]) -> str:
    """What is wrong with a record, by its first wrong field; empty if nothing. `values` are aligned with `fields`."""
    for field, value in zip(fields, values, strict=True):
        if value is None:
            if field.required:
                return f"{field.name} is missing"
        elif type(value) not in field.kind.types:
            return f"{field.name} is no {field.kind.noun}"
        elif field.kind.fault is not None and (problem := field.kind.fault(value)):
            return f"{field.name} {problem}"
    return ""


def _id_fault(text: str) -> str:
    if 0 < len(text) <= MOST_ID_BYTES // 4 and text.isprintable():  # nearly all: 4 bytes a character at most
        return ""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return "holds half a surrogate pair"
    if not data:
        return "is empty"
    if len(data) > MOST_ID_BYTES:
        return f"has {len(data):,} bytes, more than {MOST_ID_BYTES:,}"
    return "holds NUL, CR or LF" if {0, 10, 13} & set(data) else ""


def _time_fault(text: str) -> str:
    try:
        parse_time(text)
    except ValueError:
        return "is no RFC 3339 UTC time"
    return ""


def _integer_fault(number: int) -> str:
    return "" if -(2**63) <= number < 2**63 else "is beyond 64 bits"


def _probability_fault(number: float) -> str:
    return "" if 0 <= number <= 1 else "is outside [0, 1]"


def _value_fault(number: float) -> str:
    """Decided on the parsed float64: it must be the one nearest to a decimal of at most 6 places.

    0.1 + 0.2 = 0.30000000000000004 is not. Up to 1e9 two such decimals never share a float64, and both the product
    below, rounded, and the quotient are the nearest there are, so that the test is exact.
    """
    if not abs(number) <= LARGEST_VALUE:
        return f"is beyond {LARGEST_VALUE:,}"
    return "" if round(number * _MICRO) / _MICRO == number else "has more than 6 decimal places"


def _features_fault(numbers: list[Any]) -> str:
    if not {int, float}.issuperset(map(type, numbers)):
        return "is no array of numbers"
    return "" if all(abs(number) <= LARGEST_FEATURE for number in numbers) else f"holds more than {LARGEST_FEATURE:,}"


def _ids_fault(ids: list[Any]) -> str:
    if not {str}.issuperset(map(type, ids)):
        return "is no array of strings"
    return next((f"holds an id that {problem}" for text in ids if (problem := _id_fault(text))), "")


def _numbers_fault(numbers: Mapping[str, Any]) -> str:
    return "" if {int, float}.issuperset(map(type, numbers.values())) else "is no object of numbers"


ID = Kind("string", frozenset({str}), _id_fault)
TEXT = Kind("string", frozenset({str}))
TIME = Kind("string", frozenset({str}), _time_fault)
INTEGER = Kind("integer", frozenset({int}), _integer_fault)
NUMBER = Kind("number", frozenset({int, float}))
PROBABILITY = Kind("number", frozenset({int, float}), _probability_fault)
VALUE = Kind("number", frozenset({int, float}), _value_fault)
VERSION = Kind("integer or string", frozenset({int, str}))
BOOLEAN = Kind("boolean", frozenset({bool}))
OBJECT = Kind("object", frozenset({dict}))
NUMBERS = Kind("object of numbers", frozenset({dict}), _numbers_fault)
FEATURES = Kind("array of numbers", frozenset({list}), _features_fault)
IDS = Kind("array of strings", frozenset({list}), _ids_fault)

DECISION = (
    Field("decision_id", ID, required=True),
    Field("bandit_id", ID, required=True),
    Field("policy_epoch", INTEGER, required=True),
    Field("segment", ID, required=True),
    Field("arm_id", ID, required=True),
    Field("arm_generation", INTEGER, required=True),
    Field("propensity", PROBABILITY, required=True),
    Field("decided_at", TIME, required=True),
    Field("received_at", TIME),
    Field("served_by", ID),
    Field("bot", BOOLEAN),
    Field("user_key", ID),
    Field("features", FEATURES),
    Field("feature_schema", TEXT),
    Field("propensities", NUMBERS),
    Field("eligible_arms", IDS),
    Field("items", IDS),
    Field("draw", NUMBER),
    Field("rung", TEXT),
    Field("snapshot_version", INTEGER),
    Field("config_hash", TEXT),
    Field("fallback_reason", TEXT),
    Field("model_version", VERSION),
    Field("context", OBJECT),
)
REWARD = (
    Field("event_id", ID, required=True),
    Field("decision_id", ID, required=True),
    Field("kind", ID, required=True),
    Field("value", VALUE, required=True),
    Field("occurred_at", TIME, required=True),
    Field("received_at", TIME),
    Field("item_id", ID),
    Field("position", INTEGER),
)
