"""Popular items for when no server answers, read from the model's popularity.json.

A trainer writes the file to assets.extra of every version: {"items": ["c07", …], "scores": [412.0, …]}, most popular
first, up to 1,000 items. The file is read and checked once, when the object is made, so nothing about it can fail
during a call. Make a new Popularity to read a later version.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serving_client.contracts.signatures import SERVING_TOP_K
from serving_client.padding import checked_k, encode, listed
from serving_client.results import Recommendation

__all__ = ["POPULARITY_RUNG", "Popularity", "PopularityError"]

POPULARITY_RUNG = "popularity"
"""Value of Recommendation.rung for popular items."""

_LARGEST = float(np.finfo(np.float32).max)


class PopularityError(ValueError):
    """The file is missing, unreadable or invalid. The message names the file and what to do."""


class Popularity:
    """A fixed ranking, most popular first. Immutable and safe to share between threads.

    Args:
        items: Distinct, non-empty item ids, at least one.
        scores: One finite score per item, in falling order or equal.
        source: Path of the file, or another name for `Recommendation.target`.

    Raises:
        PopularityError: The items or scores are invalid.
    """

    __slots__ = ("_items", "_scores", "source")

    def __init__(self, items: Sequence[str], scores: Sequence[float], source: str = "") -> None:
        problem = _problem(items, scores)
        if problem:
            raise PopularityError(f"{source or 'popularity'}: {problem}")
        self._items = tuple(items)
        self._scores: npt.NDArray[np.float32] = np.array(scores, np.float32)
        self.source = source

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Popularity:
        """Read a version's assets.extra/popularity.json.

        Args:
            path: Path of the file.

        Raises:
            PopularityError: The file is missing, unreadable or invalid.
        """
        source = os.fspath(path)
        try:
            with open(path, encoding="utf-8") as file:
                value = json.load(file)
        except OSError as error:
            message = f"{source}: cannot be read ({error.strerror}); it lies in assets.extra of every published version"
            raise PopularityError(message) from error
        except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested too deeply
            message = (
                f"{source}: is not valid JSON ({type(error).__name__}: {error}); copy it from the model's version again"
            )
            raise PopularityError(message) from error
        if not isinstance(value, dict) or not {"items", "scores"} <= value.keys():
            raise PopularityError(f'{source}: is not an object with "items" and "scores"; pass a popularity.json')
        return cls(value["items"], value["scores"], source)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"Popularity({len(self)} items{' of ' + self.source if self.source else ''})"

    def recommend(
        self, history: Iterable[str] = (), *, exclude: Iterable[str] = (), k: int | None = None
    ) -> Recommendation:
        """Return the most popular items that are neither in `history` nor in `exclude`.

        There are fewer than `k` if no more are left.

        Args:
            history: Item ids, all of which count.
            exclude: Further item ids that are not recommended.
            k: Number of items at most. None returns 100, the default of exported models.

        Raises:
            InvalidRequest: `history` or `exclude` is not a list of ids, or `k` is not a whole number from 1.
        """
        owned: set[str] = set()
        for ids, name in ((history, "history"), (exclude, "exclude")):
            found = listed(ids, name)
            encode(found, name)
            owned.update(found)
        wanted = checked_k(k) or SERVING_TOP_K
        rows: list[int] = []
        for row, item in enumerate(self._items):
            if len(rows) >= wanted:
                break
            if item not in owned:
                rows.append(row)
        return Recommendation(
            items=[self._items[row] for row in rows],
            scores=self._scores[rows],
            model="",
            version=None,
            target=self.source,
            attempts=0,
            rung=POPULARITY_RUNG,
        )


def _problem(items: Any, scores: Any) -> str:
    """Return the problem of the two lists, or "" if they are valid."""
    if not isinstance(items, list | tuple) or not isinstance(scores, list | tuple):
        return '"items" and "scores" must be lists'
    if not items:
        return "has no items; use the file of a model with items to recommend"
    if len(items) != len(scores):
        return f"{len(items)} items and {len(scores)} scores; there must be one score for each item"
    seen: set[str] = set()
    previous = math.inf
    for place, (item, score) in enumerate(zip(items, scores, strict=True)):
        if not isinstance(item, str) or not item:
            return f"item {place} is {item!r}; ids are non-empty strings"
        if item in seen:
            return f"item {place}, {item!r}, is listed twice"
        seen.add(item)
        if isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) <= _LARGEST:
            return f"the score of item {place}, {item!r}, is not a finite float32"
        if score > previous:
            return (
                f"item {place}, {item!r}, has a higher score than the item before it; put the most popular item first"
            )
        previous = score
    return ""
