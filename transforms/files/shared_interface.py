"""The interface of a folder of small files that several writers share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Protocol

__all__ = ["Found", "SharedFolder"]


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A file's bytes, and a tag that changes with them."""

    data: bytes
    tag: str


class SharedFolder(Protocol):
    """Files by name relative to the folder, parts joined by `/`. Faults raise what the filesystem's client raises."""

    def read(self, name: str) -> Found | None:
        """A file, None where there is none."""

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""

    def create(self, name: str, data: bytes) -> None:
        """Write a new file; raises FileExistsError where there is one. Of several writers one succeeds."""

    def replace(self, name: str, data: bytes, tag: str | None) -> bool:
        """Write a file that has this tag (None: that is not there); False, and nothing done, if it has another now."""

    def names(self, below: str) -> list[str]:
        """Names, relative to `below`, of the files in a folder, not of those in folders in it; in no order."""

    def written_us(self, below: str) -> dict[str, int]:
        """As `names`, with the time of writing by the filesystem's clock, microseconds since 1970."""

    def folders(self) -> list[str]:
        """Names of the folders directly in this one that are not empty; in no order."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; one that is not there is no error."""
