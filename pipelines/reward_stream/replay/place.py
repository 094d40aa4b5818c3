"""Check where a replay may publish: to a destination of its own, never to that of a stream.

A directory or bucket prefix that a replay has used holds `replay.json`. Only such a destination is ever emptied, and
only with --overwrite. Every other destination must be empty. So no flag can damage snapshots that routers read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.reward_stream.destinations.factory import open_destination
from transforms.errors import BadUsage
from transforms.files import storage

__all__ = ["claim"]

_MARKER = "replay.json"
_TABLES = ("dynamodb://", "redis://", "rediss://")


def claim(destination: str, about: Mapping[str, Any], *, overwrite: bool) -> None:
    """Prepare a destination for a replay and mark it.

    Args:
        destination: Address of the destination.
        about: Content of the mark.
        overwrite: Whether to empty a destination that a replay has used.

    Raises:
        BadUsage: The destination belongs to something else.
    """
    names = open_destination(destination).names()
    if destination.startswith(_TABLES):
        if names:
            raise BadUsage(f"--snapshots={destination}: holds {_some(names)}; a replay needs an empty place of its own")
        return
    marker = storage.join(destination, _MARKER)
    present = storage.list_files(destination)
    if present and marker not in present:
        what = f"snapshots of {_some(names)} that a stream may go on with" if names else "other files"
        raise BadUsage(
            f"--snapshots={destination}: holds {what}; choose an empty folder (--overwrite does not help here)"
        )
    if present and not overwrite:
        raise BadUsage(f"--snapshots={destination}: holds an earlier replay; pass --overwrite, or another folder")
    if present:
        storage.remove(destination)
    storage.write_json(marker, about)


def _some(names: list[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (", …" if len(names) > len(shown) else "")
