"""Track the segments of a bandit that have rows of their own: the first max_segments that appear in an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from transforms.attribution.rules import HOLDBACK

__all__ = ["ALL", "Segments"]

# The segment of the rows in which every decision counts, except those of the holdback share.
ALL = "*"


class Segments:
    """Hold the segments admitted so far, by bandit."""

    def __init__(self, admitted: Mapping[str, Iterable[str]] | None = None) -> None:
        self._admitted = {bandit_id: dict.fromkeys(segments) for bandit_id, segments in (admitted or {}).items()}

    def admits(self, bandit_id: str, segment: str, max_segments: int) -> bool:
        """Return whether a segment has a row. Admit it if there is room. HOLDBACK always has a row."""
        if segment == HOLDBACK:
            return True
        admitted = self._admitted.setdefault(bandit_id, {})
        if segment in admitted:
            return True
        if len(admitted) >= max_segments:
            return False
        admitted[segment] = None
        return True

    def has(self, bandit_id: str, segment: str) -> bool:
        """Return whether a segment has a row already. `*` and HOLDBACK always have one."""
        return segment in (ALL, HOLDBACK) or segment in self._admitted.get(bandit_id, {})

    def room(self, bandit_id: str, max_segments: int) -> int:
        """Return how many more segments would be admitted."""
        return max(0, max_segments - len(self._admitted.get(bandit_id, {})))

    def forget(self, bandit_id: str) -> None:
        """Remove the segments of a bandit whose new epoch begins."""
        self._admitted.pop(bandit_id, None)

    def to_state(self) -> dict[str, list[str]]:
        """Return the segments in the form that the constructor takes, in order of admission."""
        return {bandit_id: list(segments) for bandit_id, segments in self._admitted.items()}
