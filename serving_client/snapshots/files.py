"""Read snapshots that are files: URI/BANDIT/LATEST, the pointer, and URI/BANDIT/VERSION.json.

The layout is the same in a directory, in a bucket and behind a web server. `Files` is how to read one of them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple, Protocol

from serving_client.snapshots.keys import escape, read_pointer
from serving_client.snapshots.published import Pointer, Published, verified

__all__ = ["LATEST", "FileStore", "Files", "Found", "LocalFiles", "NotModified"]

LATEST = "LATEST"


class NotModified(Exception):
    """Report that a file still has the tag that the caller knows."""


class Found(NamedTuple):
    """A file's content, and a tag that changes when the content changes. None if the place has no tags."""

    data: bytes
    tag: str | None = None


class Files(Protocol):
    """Read files by name, with `/` between the parts of a name."""

    def read(self, name: str, tag: str | None = None) -> Found | None:
        """Return a file, or None if it does not exist.

        Args:
            name: Name of the file.
            tag: Tag of the content that the caller has.

        Raises:
            NotModified: The file still has this tag.
        """

    def forked(self) -> None:
        """Drop the connections without closing them."""


@dataclasses.dataclass(frozen=True, slots=True)
class LocalFiles:
    """The files below a folder of this machine."""

    base: Path

    def read(self, name: str, tag: str | None = None) -> Found | None:
        """Return a file, or None if it does not exist."""
        try:
            return Found((self.base / name).read_bytes())
        except FileNotFoundError:
            return None

    def forked(self) -> None:
        """Do nothing, since there are no connections."""


class FileStore:
    """Versions as files.

    Args:
        uri: Address of the files, for messages.
        files: How to read them.
    """

    def __init__(self, uri: str, files: Files) -> None:
        self._uri = uri.rstrip("/") or "/"
        self._files = files
        self._known: dict[str, tuple[str | None, Pointer]] = {}

    def __repr__(self) -> str:
        return f"FileStore({self._uri!r})"

    def pointer(self, name: str) -> Pointer | None:
        """Read the pointer if it has changed since the last call."""
        place = escape(name)
        tag, known = self._known.get(name, (None, None))
        try:
            found = self._files.read(f"{place}/{LATEST}", tag)
        except NotModified:
            return known
        if found is None:
            self._known.pop(name, None)
            return None
        pointer = read_pointer(f"{self._uri}/{place}/{LATEST}", found.data)
        self._known[name] = (found.tag, pointer)
        return pointer

    def document(self, name: str, pointer: Pointer) -> Published:
        """Read the version that a pointer names."""
        file = f"{escape(name)}/{pointer.version}.json"
        found = self._files.read(file)
        return verified(f"{self._uri}/{file}", None if found is None else found.data, pointer)

    def forked(self) -> None:
        """Drop the connections without closing them."""
        self._files.forked()
