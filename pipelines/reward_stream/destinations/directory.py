"""Publish snapshots as files: DEST/BANDIT/VERSION.json, which never change, and DEST/BANDIT/LATEST, the pointer.

The layout is the same on local disk, s3:// and gs://. A bucket copied to a disk is a valid directory of snapshots.
"""

from __future__ import annotations

import dataclasses
import re

from pipelines.reward_stream.destinations.interface import VersionExists
from serving_client.snapshots.files import LATEST, FileStore, Found
from serving_client.snapshots.keys import escape, pointer, read_pointer, unescape
from serving_client.snapshots.published import Owner, Published, read_latest
from transforms.errors import BadInput, RecbeamError
from transforms.files.shared_folder import PARTIAL_PREFIX, open_folder
from transforms.files.shared_interface import SharedFolder

__all__ = ["DirectoryDestination"]

_VERSION = re.compile(r"([1-9][0-9]{0,17})\.json")

# File systems end names here; the key of a bucket may be longer, but a copy on disk must be possible.
_MAX_NAME_BYTES = 255

# Two writers that point at the same time: the slower one looks again.
_POINT_TRIES = 20


class DirectoryDestination:
    """Publish to a folder or to a bucket's prefix.

    Args:
        uri: Path of the folder, or s3://BUCKET/PREFIX or gs://BUCKET/PREFIX.

    Raises:
        BadUsage: The uri is neither a folder nor a bucket.
        BadInput: A call's name is too long for a folder's name.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri if uri.endswith("://") else uri.rstrip("/") or "/"
        self._folder = open_folder(self._uri)
        self._is_bucket = "://" in uri
        # Versions of a bucket that were seen once need no second listing, which takes a request per thousand.
        self._seen: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"DirectoryDestination({self._uri!r})"

    def latest(self, name: str) -> Published | None:
        """Read the version that the pointer names."""
        self._place(name)
        return read_latest(FileStore(self._uri, _Files(self._folder)), name)

    def highest(self, name: str) -> int:
        """Return the highest version present."""
        place = self._place(name)
        if self._is_bucket and place in self._seen:
            known = max(self._seen[place], self._pointed(place))
            if not self._folder.exists(f"{place}/{known + 1}.json"):  # versions have no gaps
                self._seen[place] = known
                return known
        highest = max((_version(file) for file in self._folder.names(place)), default=0)
        # If a file was lost, the pointer still shows which numbers are used.
        self._seen[place] = max(highest, self._pointed(place))
        return self._seen[place]

    def create(self, name: str, version: int, data: bytes) -> None:
        """Write a version that does not exist yet."""
        place = self._place(name)
        try:
            self._folder.create(f"{place}/{version}.json", data)
        except FileExistsError as error:
            raise VersionExists(f"{self._uri}/{place}/{version}.json: another writer was faster") from error
        if place in self._seen:
            self._seen[place] = max(self._seen[place], version)

    def point(self, name: str, version: int, sha256: str, owner: Owner | None = None) -> None:
        """Move the pointer to a version, unless it names a higher one."""
        place = self._place(name)
        latest = f"{place}/{LATEST}"
        for _ in range(_POINT_TRIES):
            found = self._folder.read(latest)
            if found is not None and read_pointer(f"{self._uri}/{latest}", found.data).version >= version:
                return
            if self._folder.replace(latest, pointer(version, sha256, owner), found.tag if found else None):
                return
        raise RecbeamError(f"{self._uri}/{latest}: changes faster than it can be written; stop the other writers")

    def prune(self, name: str, before_us: int) -> int:
        """Remove old versions and unfinished files."""
        place = self._place(name)
        pointed = self._pointed(place)
        old = [file for file, written_us in self._folder.written_us(place).items() if written_us < before_us]
        versions = [file for file in old if 0 < _version(file) < pointed]
        partials = [file for file in old if file.startswith(PARTIAL_PREFIX)]
        self._folder.remove(f"{place}/{file}" for file in (*versions, *partials))
        return len(versions)

    def names(self) -> list[str]:
        """List all names with a pointer, sorted."""
        places = (place for place in self._folder.folders() if self._folder.exists(f"{place}/{LATEST}"))
        return sorted(unescape(place) for place in places)

    def _pointed(self, place: str) -> int:
        found = self._folder.read(f"{place}/{LATEST}")
        return 0 if found is None else read_pointer(f"{self._uri}/{place}/{LATEST}", found.data).version

    def _place(self, name: str) -> str:
        place = escape(name)
        size = len(place.encode())
        if size > _MAX_NAME_BYTES:
            raise BadInput(
                f"{self._uri}: the bandit id {name[:20]!r}… takes {size} bytes as a folder's name and may take "
                f"{_MAX_NAME_BYTES}; shorten it, or publish to dynamodb:// or redis://"
            )
        return place


@dataclasses.dataclass(frozen=True, slots=True)
class _Files:
    """Read a shared folder with Beam's clients and flags."""

    folder: SharedFolder

    def read(self, name: str, tag: str | None = None) -> Found | None:
        found = self.folder.read(name)
        return None if found is None else Found(found.data)

    def forked(self) -> None:
        """Do nothing, since Beam's clients are not used after a fork."""


def _version(file: str) -> int:
    """Return the version that a file holds, 0 for other files."""
    found = _VERSION.fullmatch(file)
    return int(found[1]) if found else 0
