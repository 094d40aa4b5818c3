"""Walk through the folders of this machine, links included."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

__all__ = ["walk_once"]


def walk_once(
    top: str, enters: Callable[[str], bool], on_error: Callable[[OSError], None]
) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder at or below `top` with the names in it that are not folders, in the order of folder names.

    A folder that links lead to again is skipped. The standard library's glob would go round a link to a folder above
    until the system refuses.

    Args:
        top: Where to begin.
        enters: Whether to enter a folder of that name. A folder that is not entered hides no other path to its target.
        on_error: Receives the error of a folder that cannot be listed.
    """
    visited: set[str] = set()
    for folder, folders, names in os.walk(top, followlinks=True, onerror=on_error):
        folders[:] = sorted(filter(enters, folders))
        real = os.path.realpath(folder)
        if real in visited:
            folders.clear()
        else:
            visited.add(real)
            yield folder, names
