"""What is published now: for programs that read snapshots."""

from __future__ import annotations

from pipelines.reward_stream.destinations.factory import open_destination
from pipelines.reward_stream.destinations.interface import Destination, Published, VersionMissing

__all__ = ["read", "read_latest"]


def read_latest(uri: str, name: str) -> Published | None:
    """What the pointer of a name (a bandit's id, or _stream) names, None where nothing was published.

    Raises ValueError where it is damaged or missing, BadUsage for a uri that is none. Who reads often opens the
    destination once and calls `read`.
    """
    return read(open_destination(uri), name)


def read(destination: Destination, name: str) -> Published | None:
    """As `read_latest`, of an open destination. A version pruned between the pointer and it is read anew, once."""
    try:
        return destination.latest(name)
    except VersionMissing:
        return destination.latest(name)
