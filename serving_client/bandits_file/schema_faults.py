"""Describe in one sentence why a JSON Schema refuses a document: the place, the value, and what to write."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from serving_client.extras import require

__all__ = ["schema_fault"]

_TYPES = {
    "array": "a list", "boolean": "true or false", "integer": "a whole number", "null": "nothing", "number": "a number",
    "object": "a mapping", "string": "text",
}  # fmt: skip
_MOST_SHOWN = 60


def schema_fault(validator: Any, document: Any, below: str = "") -> str:
    """Return the fault that explains most, or an empty string for a valid document.

    validator: one of jsonschema's. below: a first key that places leave out. Where a schema that refuses has a
    description, it says what the value should be, "a duration: …": write descriptions as such phrases.
    """
    error = require("jsonschema.exceptions", "router").best_match(validator.iter_errors(document), key=_telling)
    if error is None:
        return ""
    path = list(error.absolute_path)
    place = _place(path[1:] if below and path[:1] == [below] and len(path) > 1 else path)
    return _sentence(error, place)


def _telling(error: Any) -> tuple[bool, Any]:
    """Prefer an unknown key to a missing one, because a misspelled key causes both."""
    return error.validator == "additionalProperties", require("jsonschema.exceptions", "router").relevance(error)


def _sentence(error: Any, place: str) -> str:
    value, limit, schema = error.instance, error.validator_value, error.schema
    here = f"{place} {_shown(value)}" if place else _shown(value)
    match error.validator:
        case "additionalProperties":
            return _unknown_key(value, schema, place)
        case "required":
            missing = next(name for name in limit if name not in value)
            return f"{_place([place, missing])} is missing; add it"
        case "minProperties" | "minItems" if not value:
            return f"{place} is empty; name at least one"
        case _ if "description" in schema:
            return f"{here} is not {schema['description']}"
        case "type":
            return f"{here} is not {_either(_TYPES[one] for one in ([limit] if isinstance(limit, str) else limit))}"
        case "enum":
            return f"{here} is unknown; use {_either(map(str, limit))}"
        case "minimum":
            return f"{here} is too small; use {limit} or more"
        case "maximum":
            return f"{here} is too large; use {limit} or less"
        case "exclusiveMinimum":
            return f"{here} is too small; use more than {limit}"
        case "uniqueItems":
            return f"{here} names something twice; leave one of them out"
        case "maxItems" | "maxProperties":
            return f"{place} has {len(value)} entries; use {limit} or fewer"
        case _:
            return f"{here}: {error.message}; correct it"


def _unknown_key(value: Mapping[str, Any], schema: Mapping[str, Any], place: str) -> str:
    known = list(schema["properties"])
    key = next(key for key in value if key not in known)
    alike = difflib.get_close_matches(str(key), known, 1)
    advice = f"did you mean {alike[0]}?" if alike else f"the keys here are {', '.join(known)}"
    return f"{_place([place, key])} is no key; {advice}"


def _place(path: Iterable[str | int]) -> str:
    """`home_row.features[0].name`."""
    place = ""
    for part in path:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place and part else str(part)
    return place


def _either(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
