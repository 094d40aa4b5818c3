"""Canonical JSON: equal values give equal bytes."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["canonical_json"]


def canonical_json(value: Any) -> bytes:
    """Write a value as UTF-8 JSON without spaces, with sorted keys and the shortest numbers that read back the same.

    Raises:
        ValueError: The value holds NaN, an infinity or half a surrogate pair.
        TypeError: JSON cannot express the value.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()
