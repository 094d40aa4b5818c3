"""Where a replay may publish: a place of its own, never that of a stream.

A directory or bucket prefix that a replay has used holds `replay.json`. Only such a one is ever emptied, and only when
asked to; anything else must be empty, --overwrite or not: no flag can damage what routers read.
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
    """Make a destination ready for a replay and mark it; raises BadUsage where it belongs to somebody else."""
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
