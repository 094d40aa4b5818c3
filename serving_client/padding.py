"""Conversion of lists of ids of any length to rows of one width.

A server's batching joins only requests of equal shapes, and does not pad with PAD_ID. So every history is sent at one
width: the newest ids, padded at the end. A model ignores the padding wherever it is. Candidates and excluded items must
not be dropped. More candidates than one width make further rows, and more excluded items make a wider row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from serving_client.contracts.signatures import PAD_ID
from serving_client.errors import InvalidRequest

__all__ = ["checked_k", "encode", "listed", "newest", "pad", "parts", "rounded_up", "text", "with_cut_off"]

_PAD = PAD_ID.encode()


def listed(values: Iterable[Any], name: str, of: str = "ids") -> Sequence[Any]:
    """Return the values in a list, which can be read more than once.

    Args:
        values: Any iterable but text.
        name: What a message calls the list.
        of: What a message calls its values.

    Raises:
        InvalidRequest: The values are text, or not iterable.
    """
    if isinstance(values, list | tuple):
        return values
    if isinstance(values, str | bytes):
        raise InvalidRequest(f"{name} is one {type(values).__name__}, not a list of {of}; write [{values!a:.40}]")
    try:
        found = iter(values)
    except TypeError:
        raise InvalidRequest(f"{name} is {type(values).__name__}, not a list of {of}") from None
    return list(found)


def text(value: object, name: str) -> str:
    """Return the value if it is text with a UTF-8 form.

    Args:
        value: The value.
        name: What a message calls it.

    Raises:
        InvalidRequest: The value is not text, or has no UTF-8 form.
    """
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} is {type(value).__name__} {value!r:.40}, not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{name} {value!a:.40} is not valid UTF-8: it holds half of a surrogate pair") from None
    return value


def checked_k(k: int | None) -> int | None:
    """Return the number of items to recommend, None for all that the model returns.

    Raises:
        InvalidRequest: The number is not a whole number from 1.
    """
    if k is None or (isinstance(k, int | np.integer) and not isinstance(k, bool) and k >= 1):
        return k
    raise InvalidRequest(f"k is {k!r}; pass a whole number from 1, or None for all items that the model returns")


def encode(ids: Iterable[str], name: str) -> list[bytes]:
    """Return the ids in UTF-8, in their order.

    Args:
        ids: Item ids.
        name: What a message calls the list.

    Raises:
        InvalidRequest: The ids are text instead of a list, or an id is not text or is empty. An empty id is padding,
            which a model ignores.
    """
    ids = listed(ids, name)
    try:
        row = [item.encode() for item in ids]
    except (AttributeError, TypeError, UnicodeEncodeError):
        raise InvalidRequest(_fault(ids, name)) from None
    if _PAD in row:
        raise InvalidRequest(f"{name}[{row.index(_PAD)}] is empty; leave it out, because an id is never empty")
    return row


def newest(ids: Sequence[str], width: int) -> Sequence[str]:
    """Return the last `width` ids of a history, which is oldest first."""
    return ids if len(ids) <= width else ids[len(ids) - width :]


def with_cut_off(excluded: list[bytes], history: list[bytes], width: int) -> list[bytes]:
    """Return the excluded ids and the ids of the history that `newest` cuts off, each once."""
    if len(history) <= width:
        return excluded
    sent = {*history[-width:], *excluded}
    return excluded + [item for item in dict.fromkeys(history[:-width]) if item not in sent]


def pad(row: list[bytes], width: int) -> list[bytes]:
    """Return the row padded to `width`. The row must not be longer."""
    return row + [_PAD] * (width - len(row))


def parts(row: list[bytes], width: int) -> list[list[bytes]]:
    """Split the row into rows of `width` ids, the last one padded. An empty row gives no rows."""
    return [pad(row[start : start + width], width) for start in range(0, len(row), width)]


def rounded_up(longest: int, width: int) -> int:
    """Return the smallest multiple of `width` that holds `longest` ids, at least `width`.

    The server then sees few shapes.
    """
    return max(1, -(-longest // width)) * width


def _fault(ids: Sequence[object], name: str) -> str:
    """Say which id of a list cannot be sent, and why."""
    for place, item in enumerate(ids):
        if not isinstance(item, str):
            return f"{name}[{place}] is {type(item).__name__} {item!r:.40}, not text; convert ids with str(…)"
        try:
            text(item, f"{name}[{place}]")
        except InvalidRequest as error:
            return error.message
    return f"{name} cannot be read as a list of ids"
