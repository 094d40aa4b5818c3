"""Define the interface of a destination: create a version exclusively, point at it, read it, prune by age."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

from serving_client.snapshots.published import Owner, Published

__all__ = ["Destination", "VersionExists", "publish"]


class VersionExists(Exception):
    """Report that another writer created this version first."""


class Destination(Protocol):
    """Store versions of documents by name (a bandit's id, or _stream).

    A destination can be pickled. It connects at its first call. If the store cannot be reached, a call raises the error
    of the store's client, and the next call tries again.
    """

    def latest(self, name: str) -> Published | None:
        """Read the version that the pointer names, as `read_latest` does.

        Args:
            name: A bandit's id, or _stream.

        Returns:
            The version. None if nothing was published.

        Raises:
            VersionMissing: The pointed version is missing.
            Damaged: The version or the pointer is damaged.
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
