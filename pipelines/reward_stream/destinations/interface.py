"""What a place for snapshots must do: create a version exclusively, point at it, read that one, prune by age."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Protocol

__all__ = ["Destination", "Published", "VersionExists", "VersionMissing", "publish", "verified"]


class VersionExists(Exception):
    """Another writer created this version first."""


class VersionMissing(ValueError):
    """The pointer names a version that is not there: pruned since the pointer was read, or lost."""


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """A version as a reader gets it, its digest checked."""

    version: int
    data: bytes


class Destination(Protocol):
    """Versions of documents by name (a bandit's id, or _stream), picklable; connections are made at the first call.

    A store that cannot be reached raises what its client raises, and is asked anew at the next call.
    """

    def latest(self, name: str) -> Published | None:
        """What the pointer names, None where nothing was published.

        Raises VersionMissing where the version is not there, ValueError where it or the pointer is damaged.
        """

    def highest(self, name: str) -> int:
        """The highest version present, whether pointed at or not; 0 where there is none."""

    def create(self, name: str, version: int, data: bytes) -> None:
        """Write a version that is not there yet; raises VersionExists where it is. Readers see all of it or nothing."""

    def point(self, name: str, version: int, sha256: str) -> None:
        """Let the pointer name a version, at once for all readers; nothing is done where it names a higher one."""

    def prune(self, name: str, before_us: int) -> int:
        """Remove versions written before a time, never the pointed one nor higher ones; returns how many."""

    def names(self) -> list[str]:
        """All names that something was published under, sorted."""


def publish(destination: Destination, name: str, make_document: Callable[[int], bytes]) -> int:
    """Create the next version and point at it; returns its number.

    make_document: the bytes, given the version. Raises VersionExists where another writer was faster.
    """
    version = destination.highest(name) + 1
    data = make_document(version)
    destination.create(name, version, data)
    destination.point(name, version, hashlib.sha256(data).hexdigest())
    return version


def verified(where: str, version: int, data: bytes, sha256: str) -> Published:
    """A version whose digest is the pointer's. Raises ValueError, naming the place, if it is not."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{where}: has sha256 {found[:12]}… and the pointer says {sha256[:12]}…; it was damaged or written by "
            "hand; restore it, or remove the pointer and the next snapshot writes it anew"
        )
    return Published(version, data)
