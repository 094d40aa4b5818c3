"""Versions of a document as stores publish them: a pointer, LATEST, names a version and its digest."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import NamedTuple, Protocol

__all__ = [
    "AddressError",
    "Damaged",
    "Owner",
    "Pointer",
    "Published",
    "Store",
    "StoreError",
    "VersionMissing",
    "read_latest",
    "verified",
]


class StoreError(Exception):
    """A store cannot be used. The message says what to do."""


class AddressError(StoreError):
    """The address of a store is invalid or incomplete."""


class Damaged(ValueError):
    """A pointer or a version is damaged."""


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


class Pointer(NamedTuple):
    """Hold the content of LATEST. `owner` is None if the pointer names no stream."""

    version: int
    sha256: str
    owner: Owner | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """Hold a version whose digest was checked. `owner` is None if the pointer names no stream."""

    version: int
    data: bytes
    owner: Owner | None = None


class Store(Protocol):
    """Read versions of documents by name (a bandit's id, or _stream).

    A store connects at its first call. If it cannot be reached, a call raises the error of its client library, and the
    next call tries again. It is used by one thread.
    """

    def pointer(self, name: str) -> Pointer | None:
        """Read the pointer, with a conditional request where the store has them.

        Args:
            name: A bandit's id, or _stream.

        Returns:
            The pointer. None if nothing was published.

        Raises:
            Damaged: The pointer is damaged.
        """

    def document(self, name: str, pointer: Pointer) -> Published:
        """Read the version that a pointer names.

        Args:
            name: A bandit's id, or _stream.
            pointer: The pointer.

        Returns:
            The version.

        Raises:
            VersionMissing: The version is missing.
            Damaged: The version is damaged.
        """

    def forked(self) -> None:
        """Drop the connections without closing them, because they belong to the parent process."""


def read_latest(store: Store, name: str) -> Published | None:
    """Read the version that the pointer names.

    If the version is pruned between the two reads, of the pointer and of the version, both are read once more.

    Args:
        store: The store.
        name: A bandit's id, or _stream.

    Returns:
        The version. None if nothing was published.

    Raises:
        VersionMissing: The version is missing.
        Damaged: The version or the pointer is damaged.
    """
    pointer = store.pointer(name)
    if pointer is None:
        return None
    try:
        return store.document(name, pointer)
    except VersionMissing:
        pointer = store.pointer(name)
        return None if pointer is None else store.document(name, pointer)


def verified(where: str, data: bytes | None, pointer: Pointer) -> Published:
    """Check a version against its pointer.

    Args:
        where: Place of the version, for the error.
        data: The document. None if it is missing.
        pointer: The pointer.

    Returns:
        The version.

    Raises:
        VersionMissing: The document is missing.
        Damaged: The digests differ.
    """
    if data is None:
        raise VersionMissing(f"{where}: is not there, and LATEST names it; read again, or restore it")
    found = hashlib.sha256(data).hexdigest()
    if found != pointer.sha256:
        raise Damaged(
            f"{where}: has sha256 {found[:12]}… and the pointer says {pointer.sha256[:12]}…; it was damaged or written "
            "by hand; restore it, or remove the pointer, and the next snapshot writes a new one"
        )
    return Published(pointer.version, data, pointer.owner)
