"""Which files a glob names now, and how large and how old each is.

A file appears by rename: a name that begins with a dot or ends in .tmp or .partial is not input yet.
"""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterator
from typing import NamedTuple

from transforms import storage
from transforms.errors import BadInput
from transforms.interactions.files import match

__all__ = ["Listed", "list_files"]

_UNFINISHED = (".tmp", ".partial")


class Listed(NamedTuple):
    """What a listing says of a file; mtime_us is 0 where the store does not tell."""

    size: int
    mtime_us: int


def list_files(pattern: str) -> dict[str, Listed]:
    """The files by name, in no order; none is no error. A folder stands for the files in it."""
    if not storage.is_local(pattern):
        return _list_remote(pattern)
    if os.path.isdir(pattern):
        pattern = os.path.join(pattern, "*")
    folder, name = os.path.split(pattern)
    simple = not glob.has_magic(folder) and name != "**"
    entries = _scan(folder, name) if simple else _walk(pattern)
    return dict(entries)


def _scan(folder: str, name: str) -> Iterator[tuple[str, Listed]]:
    """One folder, with one system call per file."""
    try:
        scanned = os.scandir(folder or ".")
    except (FileNotFoundError, NotADirectoryError):
        return
    with scanned:
        for entry in scanned:
            if not fnmatch.fnmatchcase(entry.name, name) or _is_unfinished(entry.name):
                continue
            try:
                if entry.is_dir():
                    continue
                status = entry.stat()
            except FileNotFoundError:  # gone in this moment
                continue
            yield os.path.join(folder, entry.name), Listed(status.st_size, status.st_mtime_ns // 1000)


def _walk(pattern: str) -> Iterator[tuple[str, Listed]]:
    for path in glob.iglob(pattern, recursive=True):
        if _is_unfinished(os.path.basename(path)):
            continue
        try:
            status = os.stat(path)
        except FileNotFoundError:
            continue
        if not os.path.isdir(path):
            yield path, Listed(status.st_size, status.st_mtime_ns // 1000)


def _list_remote(pattern: str) -> dict[str, Listed]:
    try:
        found = match([pattern])
    except BadInput as error:
        if error.__cause__ is None:  # nothing there yet
            return {}
        raise
    return {file.uri: Listed(file.size_bytes, 0) for file in found if not _is_unfinished(os.path.basename(file.uri))}


def _is_unfinished(name: str) -> bool:
    return name.startswith(".") or name.endswith(_UNFINISHED)
