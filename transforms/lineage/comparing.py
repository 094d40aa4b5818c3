"""Compare files with what a run.json or _COMPLETE.json recorded about them."""

from __future__ import annotations

import hashlib
import os
from datetime import datetime

from transforms.files import storage
from transforms.lineage.graph import Flag
from transforms.runs.run_record import Artifact, digest_of

__all__ = ["Comparer"]

_SLACK_S = 1.0
"""Clocks of file systems are coarse."""


class Comparer:
    """Compares files with their records.

    Args:
        check: Hash every file. Otherwise only sizes and times are compared.
    """

    def __init__(self, check: bool) -> None:
        self.check = check
        self._listings: dict[str, dict[str, int]] = {}

    def compare(self, recorded: Artifact, place: str, since: str = "") -> Flag | None:
        """Compare a file with its record.

        Args:
            recorded: Size and digest that were recorded.
            place: Path or URI of the file.
            since: Start of the run that read the file, RFC 3339. Empty if the file's time of change says nothing.

        Returns:
            What differs, as a flag whose sentence follows the name of the file. None if nothing differs.
        """
        size = self.size(place)
        if size is None:
            return Flag("missing", "is missing")
        if size != recorded.bytes:
            return Flag("digest" if self.check else "changed", f"has {size:,} bytes instead of {recorded.bytes:,}")
        if self.check:
            return Flag("digest", "has another digest") if _differs(recorded.digest, place, size) else None
        if since and storage.is_local(place) and os.path.getmtime(place) > _seconds(since) + _SLACK_S:
            return Flag("changed", "was written later (--check compares the content)")
        return None

    def size(self, place: str) -> int | None:
        """Return the size of a file in bytes, None if it does not exist."""
        if storage.is_local(place):
            return os.path.getsize(place) if os.path.isfile(place) else None
        for folder, files in self._listings.items():
            if place.startswith(f"{folder}/"):
                return files.get(place)
        folder = storage.parent(place)
        self._listings[folder] = storage.list_files(folder)
        return self._listings[folder].get(place)


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _differs(digest: str, place: str, size: int) -> bool:
    """Return whether a file's content has another digest. A plain sha256 is that of the content wherever it lies."""
    if storage.is_local(place) or not digest.startswith("sha256:"):
        return digest_of(place, size) != digest
    content = hashlib.sha256()
    with storage.open_read(place) as file:
        while chunk := file.read(1 << 20):
            content.update(chunk)
    return f"sha256:{content.hexdigest()}" != digest
