"""Copies of the last snapshots on this machine, for a start while the store cannot be reached.

    FOLDER/home_row.json      a line {"version", "sha256"}, then the document

A copy is replaced by a rename, and its digest is checked when it is read. So a copy that was torn by a power cut is
noticed, and nothing waits for the disk.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from serving_client.snapshots.keys import escape, pointer, read_pointer
from serving_client.snapshots.published import Pointer, Published, verified

__all__ = ["DiskCopies"]


class DiskCopies:
    """The copies in a folder. Processes may share it.

    Args:
        folder: The folder. It is created by the first write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, bandit_id: str) -> tuple[Pointer, Published] | None:
        """Return a copy, or None if there is none.

        Raises:
            Damaged: The copy is damaged.
            OSError: It cannot be read.
        """
        path = self._path(bandit_id)
        try:
            first, _, document = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        pointed = read_pointer(str(path), first)
        return pointed, verified(str(path), document, pointed)

    def save(self, bandit_id: str, pointed: Pointer, document: bytes) -> None:
        """Replace a copy.

        Raises:
            OSError: It cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=self._folder, prefix=".partial-")
        try:
            with open(handle, "wb") as file:
                file.write(pointer(pointed.version, pointed.sha256) + b"\n")
                file.write(document)
            os.replace(partial, self._path(bandit_id))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(partial)
            raise

    def _path(self, bandit_id: str) -> Path:
        return self._folder / f"{escape(bandit_id)}.json"
