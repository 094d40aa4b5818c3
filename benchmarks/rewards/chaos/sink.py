"""A folder of snapshots that can refuse: its path is a link, which for a while leads to a plain file.

Changed by rename, so that there is no moment without either; works for root, too, whom no permission stops.
"""

from __future__ import annotations

import os
import pathlib
import threading

__all__ = ["Sink"]


class Sink:
    """path: what readers and writers are told. spells: how often it refused."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path, self.spells = path, 0
        self._real, self._wall = path.with_name(f"{path.name}-real"), path.with_name(f"{path.name}-wall")
        self._real.mkdir(parents=True)
        self._wall.write_text("no\n")
        self._lock = threading.Lock()
        self._lead_to(self._real)

    def refuse(self) -> None:
        """From now on nothing can be read or written."""
        self.spells += 1
        self._lead_to(self._wall)

    def accept(self) -> None:
        """As if nothing had been."""
        self._lead_to(self._real)

    def _lead_to(self, target: pathlib.Path) -> None:
        with self._lock:
            link = self.path.with_name(f".{self.path.name}-link")
            link.symlink_to(target.name)
            os.replace(link, self.path)
