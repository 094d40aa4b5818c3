"""Find the whole versions at a source, and copy a version while checking every file.

On s3:// and gs:// a version is whole once its _COMPLETE.json exists. Every file must have the size and sha256 that it
lists. In a local folder versions appear by rename, so they are whole. A mounted or copied bucket is recognized by its
_COMPLETE.json and _claim- files and treated like a bucket. Beam is imported only for object stores.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from transforms.errors import BadInput, RecbeamError
from transforms.models import publish
from transforms.models.manifest import CLAIM_PREFIX, COMPLETE_FILE, ModelFile, parse

__all__ = ["bring", "files_of", "whole_versions"]

BLOCK_BYTES = 1 << 20


def whole_versions(base: str) -> dict[int, str]:
    """Return the whole versions below `base` with their folders.

    Raises:
        BadInput: `base` does not exist.
        RecbeamError: `base` cannot be listed.
    """
    with _reading(base, "does not exist; check the address"):
        found = publish.versions(base)
    return found if _on_store(base) else {number: folder for number, folder in found.items() if _is_whole(folder)}


def files_of(folder: str) -> list[ModelFile]:
    """Return the files of a whole version.

    Raises:
        BadInput: The version has no SavedModel, or its _COMPLETE.json is not valid.
    """
    complete = f"{folder.rstrip('/')}/{COMPLETE_FILE}"
    if _on_store(folder) or os.path.isfile(complete):
        with _reading(complete), _open(complete) as file:
            text = file.read()
        return parse(text, complete)
    paths = [Path(place) / name for place, _, names in os.walk(folder) for name in names]
    files = [ModelFile(path.relative_to(folder).as_posix(), path.stat().st_size, None) for path in sorted(paths)]
    if "saved_model.pb" not in {file.name for file in files}:
        raise BadInput(f"{folder}: holds no saved_model.pb; publish with python -m transforms.publish")
    return files


def bring(folder: str, files: list[ModelFile], target: Path, note_bytes: Callable[[int], None]) -> None:
    """Copy the files of a version to a new local folder.

    Args:
        folder: Folder of the version.
        files: Its files, from `files_of`.
        target: Local folder to write to.
        note_bytes: Called with the number of bytes of each block that was copied.

    Raises:
        BadInput: A file is missing, or its size or hash differs from the list.
    """
    for file in files:
        path = target / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb") as write:
            if file.size:  # Beam cannot write an empty object to S3, so an empty file may be missing there
                _copy(f"{folder.rstrip('/')}/{file.name}", file, write, note_bytes)


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


def _is_whole(folder: str) -> bool:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    claimed = any(name.startswith(CLAIM_PREFIX) for name in names)
    return COMPLETE_FILE in names or (bool(names) and not claimed)


def _on_store(path: str) -> bool:
    return "://" in path
