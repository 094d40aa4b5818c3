"""Define the interface of a folder of small files that several writers share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Protocol

__all__ = ["Found", "SharedFolder"]


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A file's content, and a tag that changes when the content changes."""

    data: bytes
    tag: str


class SharedFolder(Protocol):
    """Files by name, relative to the folder, with `/` between parts.

    When the filesystem fails, every method raises the error of the filesystem's client.
    """

    def read(self, name: str) -> Found | None:
        """Return the file, or None if it does not exist."""

    def exists(self, name: str) -> bool:
        """Return whether a file of this name exists."""

    def create(self, name: str, data: bytes) -> None:
        """Write a new file. If several writers create the same file, one of them succeeds.

        Raises:
            FileExistsError: The file exists.
        """

    def replace(self, name: str, data: bytes, tag: str | None) -> bool:
        """Write a file if it has not changed since it was read.

        Args:
            name: Name of the file.
            data: The new content.
            tag: Tag that the file had when it was read. None if it did not exist.

        Returns:
            True if the file was written, False if it has another tag now. In that case nothing is written.
        """

    def names(self, below: str) -> list[str]:
        """Return the names of the files directly in `below`, relative to it, in any order."""

    def written_us(self, below: str) -> dict[str, int]:
        """Return the names as `names` does, each with its time of writing in microseconds since 1970."""

    def folders(self) -> list[str]:
        """Return the names of the folders directly in this one that are not empty, in any order."""

    def remove(self, names: Iterable[str]) -> None:
        """Delete files; names that do not exist are ignored."""
