"""List the files of a glob with their sizes and modification times.

A file must appear by rename: names that begin with a dot or end in .tmp or .partial are skipped as unfinished. The
listing also skips, with a warning, pipes and devices (reading a pipe would block for ever), entries whose status cannot
be read, and names that are not UTF-8 (a checkpoint cannot store them).
"""

from __future__ import annotations

import fnmatch
import functools
import glob
import logging
import os
import re
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from transforms.errors import BadInput
from transforms.files import storage
from transforms.files.walking import walk_once
from transforms.interactions.files import match

__all__ = ["Listed", "list_files"]

_LOGGER = logging.getLogger(__name__)
_UNFINISHED = (".tmp", ".partial")

_Complain = Callable[[str, str], None]


class Listed(NamedTuple):
    """Hold the size and modification time of a listed file. mtime_us is 0 if the store does not provide it."""

    size: int
    mtime_us: int


def list_files(pattern: str, complain: _Complain | None = None) -> dict[str, Listed]:
    """List the files of a glob. A folder stands for the files in it.

    Args:
        pattern: Glob or folder, local or in a bucket.
        complain: Receives the name of each skipped entry and a sentence with the reason. None logs the sentence.

    Returns:
        Files by name, in no particular order. Empty if there are none.
    """
    complain = complain or _log
    if not storage.is_local(pattern):
        return _list_remote(pattern)
    if os.path.isdir(pattern):
        pattern = os.path.join(pattern, "*")
    folder, name = os.path.split(pattern)
    simple = not glob.has_magic(folder) and name != "**"
    entries = _scan(folder, name, complain) if simple else _walk(pattern, complain)
    return dict(entries)


def _scan(folder: str, name: str, complain: _Complain) -> Iterator[tuple[str, Listed]]:
    """List one folder with one system call per file."""
    try:
        scanned = os.scandir(folder or ".")
    except (FileNotFoundError, NotADirectoryError):
        return
    matches, beginning = re.compile(fnmatch.translate(name)).match, os.path.join(folder, "")
    with scanned:
        for entry in scanned:
            if not matches(entry.name) or _is_unfinished(entry.name):
                continue
            path = beginning + entry.name
            try:
                if entry.is_dir():
                    continue
                status = entry.stat()
                if not stat.S_ISREG(status.st_mode):
                    complain(path, _no_file(path))
                    continue
            except FileNotFoundError:  # gone in this moment
                continue
            except OSError as error:
                complain(path, _not_seen(path, error))
                continue
            if _is_utf8(path, complain):
                yield path, Listed(status.st_size, status.st_mtime_ns // 1000)


def _walk(pattern: str, complain: _Complain) -> Iterator[tuple[str, Listed]]:
    for path in _expand(pattern, complain):
        if _is_unfinished(os.path.basename(path)):
            continue
        try:
            status = os.stat(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            complain(path, _not_seen(path, error))
            continue
        if stat.S_ISDIR(status.st_mode):
            continue
        if not stat.S_ISREG(status.st_mode):
            complain(path, _no_file(path))
        elif _is_utf8(path, complain):
            yield path, Listed(status.st_size, status.st_mtime_ns // 1000)


def _expand(pattern: str, complain: _Complain) -> Iterator[str]:
    """Yield what a pattern matches. `**` reads each folder once, also where a link leads to a folder above."""
    parts = pattern.split("/")
    if "**" not in parts:
        yield from glob.iglob(pattern)
        return
    place = parts.index("**")
    above, below = "/".join(parts[:place]), "/".join(parts[place + 1 :]) or "*"
    unread = functools.partial(_unread, complain=complain)
    for top in glob.iglob(above) if above else ["/" if pattern.startswith("/") else ""]:
        for folder, _ in walk_once(top or ".", _is_shown, unread):
            shown = folder.removeprefix("./") if not top else folder
            yield from _expand(os.path.join(glob.escape("" if shown == "." else shown), below), complain)


def _is_shown(name: str) -> bool:
    return not name.startswith(".")


def _unread(error: OSError, complain: _Complain) -> None:
    path = os.fspath(error.filename)
    complain(path, _not_seen(path, error))


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


def _is_utf8(path: str, complain: _Complain) -> bool:
    if path.isascii():
        return True
    try:
        path.encode()
    except UnicodeEncodeError:
        complain(path, f"{_printable(path)}: left out, since its name is not UTF-8; rename it")
        return False
    return True


def _not_seen(path: str, error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    return f"{_printable(path)}: left out, since it cannot be looked at ({reason}); remove it or repair it"


def _no_file(path: str) -> str:
    return f"{_printable(path)}: left out, since it is a pipe, a socket or a device; a log is a file"


def _printable(path: str) -> str:
    """Return the name in characters that every log can write."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _log(about: str, sentence: str) -> None:
    _LOGGER.warning(sentence)
