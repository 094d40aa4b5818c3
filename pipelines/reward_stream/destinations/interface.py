"""Define the interface of a destination: create a version exclusively, point at it, read it, prune by age."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Protocol

__all__ = ["Destination", "Owner", "Published", "VersionExists", "VersionMissing", "publish", "verified"]


class VersionExists(Exception):
    """Report that another writer created this version first."""


class VersionMissing(ValueError):
    """Report that the pointed version is missing: it was lost, or pruned after the pointer was read."""


@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """Name the stream that publishes, in the pointer.

    Args:
        publisher: Random id of the stream.
        heartbeat_s: The stream publishes again within so many seconds. 0 if it has ended.
    """

    publisher: str
    heartbeat_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """Hold a version whose digest was checked. `owner` is None if the pointer names no stream."""

    version: int
    data: bytes
    owner: Owner | None = None


class Destination(Protocol):
    """Store versions of documents by name (a bandit's id, or _stream).

    A destination can be pickled. It connects at its first call. If the store cannot be reached, a call raises the error
    of the store's client, and the next call tries again.
    """

    def latest(self, name: str) -> Published | None:
        """Read the version that the pointer names.

        Args:
            name: A bandit's id, or _stream.

        Returns:
            The version. None if nothing was published.

        Raises:
            VersionMissing: The pointed version is missing.
            ValueError: The version or the pointer is damaged.
        """

    def highest(self, name: str) -> int:
        """Return the highest version present, pointed at or not. Return 0 if there is none."""

    def create(self, name: str, version: int, data: bytes) -> None:
        """Write a version that does not exist yet. Readers see all of it or nothing.

        Args:
            name: A bandit's id, or _stream.
            version: Number of the version.
            data: The document.

        Raises:
            VersionExists: The version exists already.
        """

    def point(self, name: str, version: int, sha256: str, owner: Owner | None = None) -> None:
        """Move the pointer to a version, for all readers at once. Do nothing if the pointer names a higher version.

        Args:
            name: A bandit's id, or _stream.
            version: Number of the version.
            sha256: Digest of the document, hexadecimal.
            owner: The stream that publishes. None for a bounded run.
        """

    def prune(self, name: str, before_us: int) -> int:
        """Remove versions that were written before a time. The pointed version and higher ones stay.

        Args:
            name: A bandit's id, or _stream.
            before_us: The time, microseconds since 1970.

        Returns:
            How many versions were removed.
        """

    def names(self) -> list[str]:
        """List all names that were published, sorted."""


def publish(
    destination: Destination, name: str, make_document: Callable[[int], bytes], owner: Owner | None = None
) -> int:
    """Create the next version and point at it.

    Args:
        destination: Where to publish.
        name: A bandit's id, or _stream.
        make_document: Returns the document for a version number.
        owner: The stream that publishes. None for a bounded run.

    Returns:
        The number of the version.

    Raises:
        VersionExists: Another writer created the version first.
    """
    version = destination.highest(name) + 1
    data = make_document(version)
    destination.create(name, version, data)
    destination.point(name, version, hashlib.sha256(data).hexdigest(), owner)
    return version


def verified(where: str, version: int, data: bytes, sha256: str, owner: Owner | None) -> Published:
    """Check the digest of a version.

    Args:
        where: Place of the version, for the error.
        version: Number of the version.
        data: The document.
        sha256: Digest in the pointer, hexadecimal.
        owner: Owner in the pointer.

    Returns:
        The version.

    Raises:
        ValueError: The digests differ.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{where}: has sha256 {found[:12]}… and the pointer says {sha256[:12]}…; it was damaged or written by "
            "hand; restore it, or remove the pointer, and the next snapshot writes a new one"
        )
    return Published(version, data, owner)
