"""Publish the result of a replay to a destination of its own, never to that of a stream.

A directory or bucket prefix that a replay has used holds `replay.json`. Only such a destination is ever emptied, and
only with --overwrite. Every other destination must be empty. So no flag can damage snapshots that routers read. The
destination does not change before the replay has succeeded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from pipelines.reward_stream.destinations.factory import open_destination
from pipelines.reward_stream.destinations.interface import Destination
from transforms.errors import BadUsage
from transforms.files import storage

__all__ = ["check_place", "fill"]

_MARKER = "replay.json"
_TABLES = ("dynamodb://", "redis://", "rediss://")


def check_place(destination: str, *, overwrite: bool) -> None:
    """Check that a replay may publish to a destination.

    Args:
        destination: Address of the destination.
        overwrite: Whether a destination that a replay has used may be emptied.

    Raises:
        BadUsage: The destination belongs to something else.
    """
    target = open_destination(destination)
    names = target.names()
    if destination.startswith(_TABLES):
        if names:
            raise BadUsage(f"--snapshots={destination}: holds {_some(names)}; name a destination that is empty")
        return
    present = storage.list_files(destination)
    if present and storage.join(destination, _MARKER) not in present:
        what = f"snapshots of {_some(names)} that a stream may go on with" if names else "other files"
        raise BadUsage(
            f"--snapshots={destination}: holds {what}; name an empty folder (--overwrite does not help here)"
        )
    if present and not overwrite:
        raise BadUsage(f"--snapshots={destination}: holds an earlier replay; pass --overwrite, or name another folder")
    if streamed := [name for name in names if _is_streams(target, name)]:
        raise BadUsage(
            f"--snapshots={destination}: a stream has published {_some(streamed)} there since the earlier replay; name "
            "an empty folder (--overwrite does not help here)"
        )


def fill(destination: str, counted: str, about: Mapping[str, Any], *, overwrite: bool) -> None:
    """Publish what a replay counted, and mark the destination. An earlier replay there is removed first.

    Args:
        destination: Address of the destination.
        counted: Directory with the snapshots of the replay.
        about: Content of the mark.
        overwrite: As in `check_place`.

    Raises:
        BadUsage: The destination belongs to something else.
    """
    check_place(destination, overwrite=overwrite)
    if not destination.startswith(_TABLES):
        storage.remove(destination)
        storage.write_json(storage.join(destination, _MARKER), about)
    source, target = open_destination(counted), open_destination(destination)
    for name in source.names():
        snapshot = source.latest(name)
        assert snapshot is not None
        target.create(name, snapshot.version, snapshot.data)
        target.point(name, snapshot.version, hashlib.sha256(snapshot.data).hexdigest())


def _is_streams(destination: Destination, name: str) -> bool:
    """Return whether a stream has published a name. A damaged version is none that a router can read."""
    try:
        published = destination.latest(name)
    except ValueError:
        return False
    return published is not None and published.owner is not None


def _some(names: list[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (", …" if len(names) > len(shown) else "")
