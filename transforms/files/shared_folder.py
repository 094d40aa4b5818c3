"""Create and replace small files in a folder or bucket that several writers share.

`storage` replaces a file unconditionally. Here a file is created only if it does not exist, and replaced only if it
has not changed since the caller read it. Readers always see whole files. Use a local folder from one machine only:
the lock that `replace` takes may not work over a network filesystem. `shared_bucket` implements buckets. It is
imported only when a bucket is opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from transforms.errors import BadUsage
from transforms.files.durable import fsync, one_at_a_time
from transforms.files.shared_interface import Found, SharedFolder

__all__ = ["PARTIAL_PREFIX", "LocalFolder", "open_folder"]

# Begins the name of a file whose writer is still writing, or died. Nothing reads such a file; it may be deleted.
PARTIAL_PREFIX = ".partial-"

_LOCK_FILE = ".lock"


def open_folder(uri: str) -> SharedFolder:
    """Return the shared folder at a local path, an s3:// or a gs:// address. Nothing is created or read yet.

    Raises:
        BadUsage: The address has another scheme, or names no bucket.
    """
    scheme = uri.partition("://")[0] if "://" in uri else ""
    if not scheme:
        return LocalFolder(Path(uri))
    from transforms.files import shared_bucket

    if scheme == "s3":
        return shared_bucket.S3Folder(uri)
    if scheme == "gs":
        return shared_bucket.GcsFolder(uri)
    raise BadUsage(f"{uri}: {scheme}:// is not supported; use a local path, s3:// or gs://")


class LocalFolder:
    """A folder of this machine. Once a write returns, it survives a power cut.

    Args:
        base: The folder. It is created by the first write.
    """

    def __init__(self, base: Path) -> None:
        self._base = base

    def read(self, name: str) -> Found | None:
        """Return the file's content and its SHA-256 as the tag, or None if it does not exist."""
        try:
            data = (self._base / name).read_bytes()
        except FileNotFoundError:
            return None
        return Found(data, hashlib.sha256(data).hexdigest())

    def exists(self, name: str) -> bool:
        """Return whether the file exists."""
        return (self._base / name).is_file()

    def create(self, name: str, data: bytes) -> None:
        """Write a new file. Raise FileExistsError if it exists."""
        path = self._base / name
        with _partial(path, data) as partial:
            os.link(partial, path)  # unlike a rename, a link never replaces a file
        fsync(path.parent)

    def replace(self, name: str, data: bytes, tag: str | None) -> bool:
        """Write the file if its tag is still `tag`, and return whether it was written."""
        path = self._base / name
        _make_folder(path.parent)
        with one_at_a_time(path.parent / _LOCK_FILE):
            found = self.read(name)
            if (found and found.tag) != tag:
                return False
            with _partial(path, data) as partial:
                os.replace(partial, path)
            fsync(path.parent)
        return True

    def names(self, below: str) -> list[str]:
        """Return the names of the files directly in a folder."""
        return [entry.name for entry in _scan(self._base / below) if entry.is_file()]

    def written_us(self, below: str) -> dict[str, int]:
        """Return the files directly in a folder with their time of writing in microseconds since 1970."""
        written = {}
        for entry in _scan(self._base / below):
            with contextlib.suppress(FileNotFoundError):  # another process removed the file
                if entry.is_file():
                    written[entry.name] = entry.stat().st_mtime_ns // 1000
        return written

    def folders(self) -> list[str]:
        """Return the names of the folders in this folder that are not empty."""
        return [entry.name for entry in _scan(self._base) if entry.is_dir() and any(_scan(Path(entry.path)))]

    def remove(self, names: Iterable[str]) -> None:
        """Delete files; names that do not exist are ignored."""
        for name in names:
            (self._base / name).unlink(missing_ok=True)


@contextlib.contextmanager
def _partial(path: Path, data: bytes) -> Iterator[Path]:
    """Write the bytes to disk under a temporary name beside `path`, and remove that name after the block."""
    _make_folder(path.parent)
    partial = path.with_name(f"{PARTIAL_PREFIX}{uuid.uuid4().hex[:12]}")
    try:
        with open(partial, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # callers read FileExistsError as "the file to be created exists"
        raise NotADirectoryError(f"{folder}: is a file, not a folder; remove it or use another folder") from error
    fsync(folder.parent)


def _scan(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        yield from entries
