"""Which segments of a bandit have rows of their own: the first max_segments that appear, while the epoch lasts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["ALL", "Segments"]

# The segment of the rows in which every decision counts.
ALL = "*"


class Segments:
    """The segments admitted so far, by bandit."""

    def __init__(self, admitted: Mapping[str, Iterable[str]] | None = None) -> None:
        self._admitted = {bandit_id: dict.fromkeys(segments) for bandit_id, segments in (admitted or {}).items()}

    def admits(self, bandit_id: str, segment: str, max_segments: int) -> bool:
        """Whether a segment has a row; one that comes while there is room has one from now on."""
        admitted = self._admitted.setdefault(bandit_id, {})
        if segment in admitted:
            return True
        if len(admitted) >= max_segments:
            return False
        admitted[segment] = None
        return True

    def has(self, bandit_id: str, segment: str) -> bool:
        """Whether a segment has a row already; `*` always has."""
        return segment == ALL or segment in self._admitted.get(bandit_id, {})

    def room(self, bandit_id: str, max_segments: int) -> int:
        """How many more segments would be admitted."""
        return max(0, max_segments - len(self._admitted.get(bandit_id, {})))

    def forget(self, bandit_id: str) -> None:
        """A new epoch starts empty."""
        self._admitted.pop(bandit_id, None)

    def to_state(self) -> dict[str, list[str]]:
        """As the constructor takes it, in order of admission."""
        return {bandit_id: list(segments) for bandit_id, segments in self._admitted.items()}
