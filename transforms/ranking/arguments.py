"""Check the arguments that every recommender takes: lists of item ids, and the number of items to return.

A string is a sequence of strings, so a single id in place of a list would be read as a list of its letters. None of
them is a known id, and the answer would be the popularity list.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

__all__ = ["checked_ids", "checked_k"]


def checked_ids(ids: Iterable[str], name: str) -> list[str]:
    """Return the ids as a list.

    Args:
        ids: Item ids, any iterable of str except a str.
        name: What a message calls the ids.

    Raises:
        TypeError: `ids` is one id or not iterable, or an id is not text.
    """
    if isinstance(ids, str | bytes):
        raise TypeError(f"{name} is one {type(ids).__name__}, not a list of ids; pass [{ids!a:.40}]")
    if not isinstance(ids, Iterable):
        raise TypeError(f"{name} is {type(ids).__name__}, not a list of ids")
    found = list(ids)
    for place, item in enumerate(found):
        if not isinstance(item, str):
            raise TypeError(f"{name}[{place}] is {type(item).__name__} {item!r:.40}, not text; convert ids with str(…)")
    return found


def checked_k(k: int) -> int:
    """Return the number of items to recommend.

    Raises:
        TypeError: `k` is not a whole number.
        ValueError: `k` is less than 1.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise TypeError(f"k is {type(k).__name__} {k!r:.40}; pass a whole number from 1")
    if k < 1:
        raise ValueError(f"k is {k}; pass a whole number from 1")
    return int(k)
