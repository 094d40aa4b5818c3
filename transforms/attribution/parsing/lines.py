"""What one line says by the plain rule: a record's fields and rank, or why it is no record.

It defines what a good record is; `records` reads the usual ones faster and asks here about the others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from serving_client.contracts.canonical import record_rank
from transforms.attribution.parsing.fields import MOST_NESTED, Field, fault

__all__ = ["read_line"]


def read_line(text: bytes, fields: Sequence[Field]) -> tuple[dict[str, Any], int] | str:
    """A line's record as (the values of `fields` by name, None where absent; its rank), or why it is malformed."""
    try:
        record = json.loads(text.decode(), parse_constant=_no_constant)
    except UnicodeDecodeError:
        return "line is not UTF-8"
    except RecursionError:
        return f"line is nested more than {MOST_NESTED} deep"
    except ValueError as error:
        return f"line is no JSON: {error}"
    if not isinstance(record, dict):
        return "line is no JSON object"
    if text.count(b"{") + text.count(b"[") > MOST_NESTED and _is_deep(record):
        return f"line is nested more than {MOST_NESTED} deep"
    try:
        rank = record_rank(record)
    except UnicodeEncodeError:
        return "line holds half a surrogate pair"
    except ValueError:
        return "line holds a number beyond float64"
    values = {field.name: record.get(field.name) for field in fields}
    return fault(fields, list(values.values())) or (values, rank)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")


def _is_deep(value: object) -> bool:
    """Level by level, so that Python's own limit is never met."""
    level, depth = [value], 0
    while level:
        nested = [each for each in level if isinstance(each, dict | list)]
        depth += bool(nested)
        if depth > MOST_NESTED:
            return True
        level = [inner for each in nested for inner in (each.values() if isinstance(each, dict) else each)]
    return False
