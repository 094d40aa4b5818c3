"""Find the whole versions at a source, and copy a version while checking every file.

On s3:// and gs:// a version is whole once its _COMPLETE.json exists. In a local folder it is whole if it also has every
file that _COMPLETE.json lists, in the listed size. While a version is copied, each file must have the listed size and
sha256.

A version without _COMPLETE.json was not published by recbeam, or is still being copied. It counts as whole once nothing
in it has changed for SETTLE_S. The times are those at which the filesystem recorded a change (ctime), because tools
like `rsync -t` set the other times to old values. Beam is imported only for object stores.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from transforms.errors import BadInput, RecbeamError
from transforms.models import publish
from transforms.models.manifest import COMPLETE_FILE, ModelFile, check, is_beside, listed, parse

__all__ = ["SETTLE_S", "Source", "bring", "files_of", "find", "is_copy", "is_listed"]

BLOCK_BYTES = 1 << 20
SETTLE_S = 60.0
"""A version without a list of its files is copied once nothing in it has changed for this many seconds."""
SAME_NS = 2_000_000_000
"""Two times of a file are equal within this. FAT stores times in steps of 2 s."""


@dataclasses.dataclass(frozen=True)
class Source:
    """The versions at a source.

    Attributes:
        whole: Folder of each whole version.
        settling: Versions that may still be being copied.
    """

    whole: Mapping[int, str]
    settling: frozenset[int]


def find(base: str, now_s: float, settle_s: float = SETTLE_S) -> Source:
    """Return the versions below `base`.

    Args:
        base: Folder or bucket prefix of the versions.
        now_s: The time in seconds since 1970.
        settle_s: How long nothing may have changed in a version without a list of its files, in seconds.

    Raises:
        BadInput: `base` does not exist.
        RecbeamError: `base` cannot be listed.
    """
    with _reading(base, "does not exist; check the address"):
        found = publish.versions(base)
    if _on_store(base):
        return Source(found, frozenset())
    present = {number: folder for number, folder in found.items() if _has_model_files(folder)}
    settling = frozenset(number for number, folder in present.items() if _is_settling(folder, now_s, settle_s))
    return Source({number: folder for number, folder in present.items() if number not in settling}, settling)


def files_of(folder: str) -> list[ModelFile]:
    """Return the files of a whole version.

    Raises:
        BadInput: The version has no SavedModel, or its _COMPLETE.json is not valid.
    """
    if _on_store(folder) or is_listed(folder):
        complete = f"{folder.rstrip('/')}/{COMPLETE_FILE}"
        with _reading(complete), _open(complete) as file:
            text = file.read()
        return parse(text, complete)
    files = listed(Path(folder))
    check(files, folder)
    return files


def is_listed(folder: str | os.PathLike[str]) -> bool:
    """Return whether a local version has a list of its files."""
    return os.path.isfile(os.path.join(folder, COMPLETE_FILE))


def is_copy(files: list[ModelFile], local: Path) -> bool:
    """Return whether a local folder is a copy of a version.

    The names and sizes must be equal, and so must the hashes if the version has a list of its files, or else the times.

    Args:
        files: Files of the version, from `files_of`.
        local: Local folder of the version.
    """
    here = {file.name: file for file in listed(local)}
    if {file.name: file.size for file in files} != {name: file.size for name, file in here.items()}:
        return False
    if files[0].sha256 is None:
        times = [(file.modified_ns or 0, here[file.name].modified_ns or 0) for file in files]
        return not is_listed(local) and all(abs(there - ours) <= SAME_NS for there, ours in times)
    try:
        return is_listed(local) and set(files_of(str(local))) == set(files)
    except BadInput:
        return False


def bring(folder: str, files: list[ModelFile], target: Path, note_bytes: Callable[[int], None]) -> None:
    """Copy the files of a version to a new local folder.

    Args:
        folder: Folder of the version.
        files: Its files, from `files_of`.
        target: Local folder to write to.
        note_bytes: Called with the number of bytes of each block that was copied.

    Raises:
        BadInput: A file is missing, its size or hash differs from the list, or a version without a list changed.
    """
    for file in files:
        path = target / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb") as write:
            if file.size:  # Beam cannot write an empty object to S3, so an empty file may be missing there
                _copy(f"{folder.rstrip('/')}/{file.name}", file, write, note_bytes)
        if file.modified_ns is not None:
            os.utime(path, ns=(file.modified_ns, file.modified_ns))  # `is_copy` compares it
    if files[0].sha256 is None and files_of(folder) != files:
        raise BadInput(f"{folder}: changed while it was copied; sync again when it is complete")


def _copy(uri: str, file: ModelFile, write: IO[bytes], note_bytes: Callable[[int], None]) -> None:
    digest, size = hashlib.sha256(), 0
    with contextlib.ExitStack() as stack:
        with _reading(uri):
            read = stack.enter_context(_open(uri))
        while True:
            with _reading(uri):
                block = read.read(BLOCK_BYTES)
            if not block:
                break
            digest.update(block)
            size += len(block)
            write.write(block)
            note_bytes(len(block))
    if size != file.size:
        raise BadInput(f"{uri}: has {size} bytes, but {file.size} are listed; publish the model again")
    if file.sha256 and digest.hexdigest() != file.sha256:
        found = digest.hexdigest()
        raise BadInput(f"{uri}: has sha256 {found[:12]}…, but {file.sha256[:12]}… is listed; publish the model again")


def _open(uri: str) -> IO[bytes]:
    if not _on_store(uri):
        return open(uri, "rb")
    from transforms.files import storage

    return storage.open_read(uri)


@contextlib.contextmanager
def _reading(uri: str, absent: str = "is listed but does not exist; publish the model again") -> Iterator[None]:
    """Turn any error of a store's client into a RecbeamError. Errors of local files pass through."""
    try:
        yield
    except FileNotFoundError as error:
        raise BadInput(f"{uri}: {absent}") from error
    except RecbeamError:
        raise
    except Exception as error:
        if not _on_store(uri):
            raise
        causes = list((getattr(error, "exception_details", None) or {}).values()) or [error]
        reason = " ".join(str(causes[0]).split()) or type(causes[0]).__name__
        raise RecbeamError(
            f"{uri}: cannot be read ({reason}); check the address, the permissions and the network"
        ) from error


def _has_model_files(folder: str) -> bool:
    """Return whether a local folder has files, and is not a mounted bucket's version that is still being published."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return COMPLETE_FILE in names or (bool(names) and not any(map(is_beside, names)))


def _is_settling(folder: str, now_s: float, settle_s: float) -> bool:
    try:
        if is_listed(folder) and _has_listed_sizes(folder):
            return False
        changed_s = max(os.stat(place).st_ctime for place in _below(folder))
    except FileNotFoundError:  # a temporary file of the tool that copies
        return True
    return now_s - changed_s < settle_s


def _has_listed_sizes(folder: str) -> bool:
    try:
        files = files_of(folder)
    except BadInput:
        return False
    here = {file.name: file.size for file in listed(Path(folder))}
    return all(here.get(file.name, 0) == file.size for file in files)


def _below(folder: str) -> Iterator[str]:
    """Yield a folder and everything below it."""
    for place, _, names in os.walk(folder, followlinks=True):
        yield place
        yield from (os.path.join(place, name) for name in names)


def _on_store(path: str) -> bool:
    return "://" in path
