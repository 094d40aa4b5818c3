"""The one way to write a value as JSON, so that equal values are equal bytes; the rank of a record among its like."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["canonical_json", "record_rank"]


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON without spaces, keys sorted, numbers in Python's shortest form that reads back as the same.

    Raises ValueError for NaN, infinities and lone surrogates, TypeError for what JSON cannot say.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def record_rank(record: Mapping[str, Any]) -> int:
    """The first 8 bytes of the SHA-256 of a record's canonical JSON, as an unsigned big-endian integer.

    Of records with one id and one event time the one of the smallest rank wins.
    """
    return int.from_bytes(hashlib.sha256(canonical_json(record)).digest()[:8], "big")
