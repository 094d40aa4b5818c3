"""Parse lines of a log the plain way: whether a line is a decision or a reward, and when it happened.

The rules of the specification are written a second time here, without regard to speed.
"""

from __future__ import annotations

import datetime
import decimal
import json
import re
from typing import Any

__all__ = ["canonical", "format_us", "is_decision", "is_reward", "micro_of", "parse_line", "time_us"]

Record = dict[str, Any]

_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,6})?(Z|\+00:00)")
_EPOCH = datetime.datetime(1970, 1, 1)
_US = datetime.timedelta(microseconds=1)


def parse_line(line: bytes) -> Record | None:
    """Parse the JSON object of a line, or return None. NaN, infinities and text that is not UTF-8 are not JSON."""
    try:
        value = json.loads(line.decode(), parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate is no text
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def time_us(text: str) -> int:
    """RFC 3339 in UTC, with up to six decimals, to microseconds since 1970; ValueError for anything else."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no RFC 3339 UTC time")
    whole = (datetime.datetime.fromisoformat(match[1]) - _EPOCH) // _US
    return whole + int(decimal.Decimal(match[2] or 0) * 1_000_000)


def format_us(moment_us: int) -> str:
    """Microseconds since 1970 as RFC 3339 with six decimals and Z."""
    return (_EPOCH + moment_us * _US).isoformat(timespec="microseconds") + "Z"


def canonical(record: Any) -> bytes:
    """Write the canonical JSON of a record or of any value."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def micro_of(value: float) -> int:
    """Convert a reward's value to millionths."""
    return round(value * 1_000_000)


def is_decision(record: Record) -> bool:
    """Whether a JSON object is a decision."""
    get = record.get
    return (
        all(_is_id(get(name)) for name in ("decision_id", "bandit_id", "segment", "arm_id"))
        and _is_integer(get("policy_epoch"))
        and _is_integer(get("arm_generation"))
        and _is_number(get("propensity"))
        and 0 <= record["propensity"] <= 1
        and _is_time(get("decided_at"))
        and all(get(name) is None or _is_id(get(name)) for name in ("served_by", "user_key"))
        and all(get(name) is None or type(get(name)) is str for name in _TEXTS)
        and (get("received_at") is None or _is_time(get("received_at")))
        and all(get(name) is None or type(get(name)) is bool for name in ("bot", "holdback"))
        and (get("draw") is None or _is_number(get("draw")))
        and (get("snapshot_version") is None or _is_integer(get("snapshot_version")))
        and (get("model_version") is None or type(get("model_version")) is str or _is_integer(get("model_version")))
        and (get("context") is None or type(get("context")) is dict)
        and (get("features") is None or _is_list(get("features"), _is_feature))
        and all(get(name) is None or _is_list(get(name), _is_id) for name in ("eligible_arms", "items"))
        and (get("propensities") is None or _is_table(get("propensities")))
    )


def is_reward(record: Record) -> bool:
    """Whether a JSON object is a reward."""
    get = record.get
    return (
        all(_is_id(get(name)) for name in ("event_id", "decision_id", "kind"))
        and _is_number(get("value"))
        and _is_value(record["value"])
        and _is_time(get("occurred_at"))
        and (get("received_at") is None or _is_time(get("received_at")))
        and (get("item_id") is None or _is_id(get("item_id")))
        and (get("position") is None or _is_integer(get("position")))
    )


_TEXTS = ("feature_schema", "rung", "config_hash", "fallback_reason")


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _is_id(value: Any) -> bool:
    return type(value) is str and 1 <= len(value.encode()) <= 1024 and not set(value) & set("\0\r\n")


def _is_integer(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) != float("inf")


def _is_feature(value: Any) -> bool:
    return _is_number(value) and abs(value) <= 2**20


def _is_time(value: Any) -> bool:
    if type(value) is not str:
        return False
    try:
        time_us(value)
    except ValueError:
        return False
    return True


def _is_value(value: float) -> bool:
    """At most 1e9, and of at most six decimals: as its shortest form has."""
    if abs(value) > 10**9:
        return False
    exponent = decimal.Decimal(repr(value)).normalize().as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -6


def _is_list(value: Any, is_member: Any) -> bool:
    return type(value) is list and all(is_member(member) for member in value)


def _is_table(value: Any) -> bool:
    return type(value) is dict and all(_is_number(member) for member in value.values())
