"""Small files in a folder or bucket that several writers share: who was first, and was it changed meanwhile?

`storage` replaces whatever is there; here a file is created only where there is none, and replaced only if it is still
what the caller read. Readers see whole files. Local folders are meant for one machine (the lock that `replace` takes
may not reach over a network filesystem); buckets are in `shared_bucket`, which is imported for them alone.
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

# A file that was being written when its writer died; nobody reads it, and whoever tidies up may remove it.
PARTIAL_PREFIX = ".partial-"

_LOCK_FILE = ".lock"


def open_folder(uri: str) -> SharedFolder:
    """A folder on local disk, s3:// or gs://. Raises BadUsage for another scheme; nothing is made or looked at yet."""
    scheme = uri.partition("://")[0] if "://" in uri else ""
    if not scheme:
        return LocalFolder(Path(uri))
    from transforms.files import shared_bucket

    if scheme == "s3":
        return shared_bucket.S3Folder(uri)
    if scheme == "gs":
        return shared_bucket.GcsFolder(uri)
    raise BadUsage(f"{uri}: {scheme}:// is not a filesystem known here; use a path, s3:// or gs://")


class LocalFolder:
    """A folder of this machine. What was written survives a power cut once the call has returned."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def read(self, name: str) -> Found | None:
        try:
            data = (self._base / name).read_bytes()
        except FileNotFoundError:
            return None
        return Found(data, hashlib.sha256(data).hexdigest())

    def exists(self, name: str) -> bool:
        return (self._base / name).is_file()

    def create(self, name: str, data: bytes) -> None:
        path = self._base / name
        with _partial(path, data) as partial:
            os.link(partial, path)  # unlike a rename it does not replace
        fsync(path.parent)

    def replace(self, name: str, data: bytes, tag: str | None) -> bool:
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
        return [entry.name for entry in _scan(self._base / below) if entry.is_file()]

    def written_us(self, below: str) -> dict[str, int]:
        written = {}
        for entry in _scan(self._base / below):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                if entry.is_file():
                    written[entry.name] = entry.stat().st_mtime_ns // 1000
        return written

    def folders(self) -> list[str]:
        return [entry.name for entry in _scan(self._base) if entry.is_dir() and any(_scan(Path(entry.path)))]

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            (self._base / name).unlink(missing_ok=True)


@contextlib.contextmanager
def _partial(path: Path, data: bytes) -> Iterator[Path]:
    """The bytes on disk under a name of their own beside `path`; at the end the name is gone."""
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
    except FileExistsError as error:  # which would say that the file to be made is there
        raise NotADirectoryError(f"{folder}: is a file; remove it, or name another folder") from error
    fsync(folder.parent)


def _scan(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        yield from entries
