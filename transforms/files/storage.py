"""Read and write files on Beam's filesystems (local, s3://, gs://). A written file appears whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

__all__ = [
    "copy_file",
    "copy_folder",
    "is_local",
    "join",
    "list_files",
    "local_copy",
    "local_place",
    "make_folder",
    "move",
    "open_read",
    "parent",
    "read_json",
    "remove",
    "write_json",
    "write_whole",
]


def is_local(uri: str) -> bool:
    """Return whether a URI names a file of this machine."""
    return "://" not in uri


def join(base: str, *parts: str) -> str:
    """Join path parts with the separator of the path's filesystem."""
    return str(FileSystems.join(base, *parts))


@contextlib.contextmanager
def write_whole(uri: str) -> Iterator[IO[bytes]]:
    """Write a file under a temporary name and rename it when the block ends. If the block raises, remove the file.

    A retry replaces the file of the first try, so writing the same content twice is safe.
    """
    folder, name = FileSystems.split(uri)
    partial = join(folder, f".partial-{uuid.uuid4().hex[:8]}-{name}")
    make_folder(folder)
    try:
        with FileSystems.create(partial, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            yield file
        move(partial, uri)
    except BaseException:
        with contextlib.suppress(Exception):
            FileSystems.delete([partial])
        raise


def open_read(uri: str) -> IO[bytes]:
    """Open a file without decompressing it."""
    return FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED)


def list_files(uri: str) -> dict[str, int]:
    """Return a file, or all files below a folder, with sizes in bytes, sorted by name. Empty if nothing is there."""
    if is_local(uri):
        if os.path.isfile(uri):
            return {uri: os.path.getsize(uri)}
        below = [os.path.join(folder, name) for folder, _, names in os.walk(uri) for name in names]
        return {path: os.path.getsize(path) for path in sorted(below)}
    matches = FileSystems.match([uri, join(uri, "**")])
    found = {each.path: each.size_in_bytes for match in matches for each in match.metadata_list}
    return dict(sorted(found.items()))


def make_folder(uri: str) -> None:
    """Create a folder and its parents. Does nothing on object stores, which have no folders."""
    if is_local(uri) and uri:
        os.makedirs(uri, exist_ok=True)


def move(source: str, target: str) -> None:
    """Rename a file, replacing the target if it exists."""
    if is_local(source):
        os.replace(source, target)
    else:
        FileSystems.rename([source], [target])


def remove(uri: str) -> None:
    """Delete a file, or a folder with everything in it. Does nothing if it does not exist."""
    if is_local(uri):
        if os.path.isdir(uri):
            shutil.rmtree(uri)
        elif os.path.exists(uri):
            os.remove(uri)
    else:
        files = list(list_files(uri))
        if files:
            FileSystems.delete(files)


def parent(uri: str) -> str:
    """Return the folder that holds a file or folder. Empty for a bare name."""
    return str(FileSystems.split(uri.rstrip("/"))[0]) if "/" in uri.rstrip("/") else ""


def write_json(uri: str, value: Mapping[str, Any]) -> None:
    """Write a JSON object with sorted keys. The file appears whole."""
    with write_whole(uri) as file:
        file.write(json.dumps(value, indent=1, sort_keys=True).encode())


def read_json(uri: str) -> Any:
    """Return a JSON file's content, or None if the file does not exist or is not JSON."""
    if is_local(uri) and not os.path.isfile(uri):
        return None
    try:
        with open_read(uri) as file:
            return json.loads(file.read())
    except (BeamIOError, OSError, ValueError):
        return None


@contextlib.contextmanager
def local_copy(folder: str, parts: Sequence[str]) -> Iterator[str]:
    """Give a local folder that holds the named files and folders of `folder`.

    Args:
        folder: Folder on any filesystem. A local folder is used as it is; a remote one is copied to a temporary folder.
        parts: Names of the files and folders to copy.

    Yields:
        Path of the local folder. A temporary copy is removed after the block.
    """
    if is_local(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory() as local:
        for part in parts:
            for uri in list_files(join(folder, part)):
                copy_file(uri, join(local, *uri[len(folder) :].strip("/").split("/")))
        yield local


@contextlib.contextmanager
def local_place(uri: str) -> Iterator[str]:
    """Give a local path where the block writes a folder that belongs at `uri`.

    For a remote `uri` the path is temporary, and the folder is copied to `uri` when the block ends.
    """
    if is_local(uri):
        yield uri
        return
    with tempfile.TemporaryDirectory() as local:
        place = os.path.join(local, "folder")
        yield place
        copy_folder(place, uri)


def copy_folder(source: str, target: str) -> None:
    """Copy a local folder to any filesystem."""
    for path in sorted(pathlib.Path(source).rglob("*")):
        if path.is_file():
            copy_file(str(path), join(target, *path.relative_to(source).parts))


def copy_file(source: str, target: str) -> None:
    """Copy a file between any two filesystems. The copy appears whole."""
    with open_read(source) as file, write_whole(target) as copy:
        shutil.copyfileobj(file, copy, 1 << 20)
