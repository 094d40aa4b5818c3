"""A bounded cache of what was used recently, for many readers without a lock."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Recent"]

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A mapping that keeps the `size` keys used last, and at most twice as many.

    A key that is found among the older half moves to the younger half. When the younger half is full, it becomes the
    older half, and the older half is dropped. Every method is a few dictionary operations, each of which is atomic. If
    two threads change halves at once, a key may be lost, and its value is computed again.

    Args:
        size: Number of keys, at least 1.
    """

    __slots__ = ("_old", "_size", "_young")

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """Return the value of a key, which is then used, or None."""
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        """Set the value of a key, which is then used."""
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def put_unused(self, key: K, value: V) -> None:
        """Set the value of a key that nobody has used yet, unless the older half is full."""
        if len(self._old) < self._size:
            self._old[key] = value

    def keys(self) -> list[K]:
        """Return the keys, those of the younger half first."""
        return list(dict.fromkeys((*self._young.copy(), *self._old.copy())))
