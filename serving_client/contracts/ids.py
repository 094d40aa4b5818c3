"""The rule for ids in decisions and rewards: 1 to 1,024 bytes of UTF-8 without NUL, CR and LF."""

from __future__ import annotations

__all__ = ["MOST_ID_BYTES", "id_fault"]

MOST_ID_BYTES = 1_024
"""Largest size of an id, in bytes of UTF-8."""


def id_fault(text: str) -> str:
    """Return what is wrong with an id, as the rest of a sentence that begins with its name. Empty for a valid id."""
    if not text:
        return "is empty"
    if len(text) <= MOST_ID_BYTES // 4 and text.isprintable():  # most ids: a character has at most 4 bytes
        return ""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return "holds half a surrogate pair"
    if len(data) > MOST_ID_BYTES:
        return f"has {len(data):,} bytes, more than {MOST_ID_BYTES:,}"
    return "holds NUL, CR or LF" if {0, 10, 13} & set(data) else ""
