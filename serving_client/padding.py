"""How do lists of ids of any length become rows of one width, and which columns of an answer belong to what was sent?

A server's batching joins requests of equal shapes alone, and pads with something else than PAD_ID: so every history
goes out at one fixed width, newest kept, padded at its end (a model ignores the pads wherever they are). Candidates
and excluded items must not be dropped: more than one width of them make further rows, or a wider row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from serving_client.contracts.signatures import PAD_ID
from serving_client.errors import InvalidRequest

__all__ = ["encode", "listed", "newest", "pad", "parts", "rounded_up", "text", "with_cut_off"]

_PAD = PAD_ID.encode()


def listed(values: Iterable[Any], name: str, of: str = "ids") -> Sequence[Any]:
    """The values in a list that can be read more than once, as an iterator cannot.

    name, of: what to call the list and its values in a message. Raises InvalidRequest for text and for what is no list.
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
    """The value. Raises InvalidRequest for what is not text, or has no UTF-8."""
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} is {type(value).__name__} {value!r:.40}, not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{name} {value!a:.40} is no UTF-8: it holds half of a surrogate pair") from None
    return value


def encode(ids: Iterable[str], name: str) -> list[bytes]:
    """The ids in UTF-8, in their order.

    name: what to call the list in a message. Raises InvalidRequest for text in place of a list, for an id that is
    not text, and for an empty one: that is what pads are, and a model would pass over it.
    """
    ids = listed(ids, name)
    try:
        row = [item.encode() for item in ids]
    except (AttributeError, TypeError, UnicodeEncodeError):
        raise InvalidRequest(_fault(ids, name)) from None
    if _PAD in row:
        raise InvalidRequest(f"{name}[{row.index(_PAD)}] is empty; ids are not, leave it out")
    return row


def newest(ids: Sequence[str], width: int) -> Sequence[str]:
    """The last `width` ids of a history, which is oldest first."""
    return ids if len(ids) <= width else ids[len(ids) - width :]


def with_cut_off(excluded: list[bytes], history: list[bytes], width: int) -> list[bytes]:
    """The excluded ids, and those of the history that `newest` leaves out and that stand in neither."""
    if len(history) <= width:
        return excluded
    sent = {*history[-width:], *excluded}
    return excluded + [item for item in dict.fromkeys(history[:-width]) if item not in sent]


def pad(row: list[bytes], width: int) -> list[bytes]:
    """The row at exactly `width`, which it must not exceed."""
    return row + [_PAD] * (width - len(row))


def parts(row: list[bytes], width: int) -> list[list[bytes]]:
    """The row cut to rows of exactly `width`, the last one padded; none for an empty row."""
    return [pad(row[start : start + width], width) for start in range(0, len(row), width)]


def rounded_up(longest: int, width: int) -> int:
    """The smallest multiple of `width`, at least one of it, that holds `longest` ids: few shapes reach the server."""
    return max(1, -(-longest // width)) * width


def _fault(ids: Sequence[object], name: str) -> str:
    """Which id of a list cannot be sent, and why."""
    for place, item in enumerate(ids):
        if not isinstance(item, str):
            return f"{name}[{place}] is {type(item).__name__} {item!r:.40}, not text; ids are str, write str(…)"
        try:
            text(item, f"{name}[{place}]")
        except InvalidRequest as error:
            return error.message
    return f"{name} cannot be read as a list of ids"
