"""Read the published snapshots, for programs that use them."""

from __future__ import annotations

from pipelines.reward_stream.destinations.factory import open_destination
from pipelines.reward_stream.destinations.interface import Destination, Published, VersionMissing

__all__ = ["read", "read_latest"]


def read_latest(uri: str, name: str) -> Published | None:
    """Read the latest version of a name.

    To read often, open the destination once and call `read`.

    Args:
        uri: Address of the destination.
        name: A bandit's id, or _stream.

    Returns:
        The version. None if nothing was published.

    Raises:
        ValueError: The version is damaged or missing.
        BadUsage: The uri names no supported destination.
    """
    return read(open_destination(uri), name)


def read(destination: Destination, name: str) -> Published | None:
    """Read the latest version of a name from an open destination.

    If the version is pruned between the two reads, of the pointer and of the version, both are read once more.

    Args:
        destination: The destination.
        name: A bandit's id, or _stream.

    Returns:
        The version. None if nothing was published.

    Raises:
        ValueError: The version is damaged or missing.
    """
    try:
        return destination.latest(name)
    except VersionMissing:
        return destination.latest(name)
