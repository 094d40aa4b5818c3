"""Publish versions of a model to an object store (s3://, gs://), where a folder cannot be renamed into place.

A version is complete once its _COMPLETE.json exists. It lists name, size and sha256 of every file. Call this module
through `transforms.models.publish`. It imports Beam for its filesystems. TF Serving reads local folders only, so
`transforms.models.sync` copies complete versions to each server.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import IO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.options.value_provider import RuntimeValueProvider

from transforms.files import storage
from transforms.models.manifest import CLAIM_PREFIX, COMPLETE_FILE, ModelFile, check, dump, is_beside, is_version

__all__ = ["complete_versions", "fetch", "publish_to_store"]


def publish_to_store(source: str, base: str, clock: Callable[[], int], name: str) -> int:
    """Copy the files below `source` to a new version below `base`, and return its number.

    Args:
        source: Folder of the SavedModel, on any filesystem.
        base: Prefix of the versions.
        clock: Returns the time in microseconds since 1970.
        name: Name of this publisher. No other publisher may use the same name.

    Raises:
        BadInput: `source` holds no SavedModel.
    """
    _default_options()
    files = _model_files(source)
    version = _claim(base, clock, name)
    copied = []
    for path, uri in files.items():
        digest, size = hashlib.sha256(), 0
        with storage.open_read(uri) as read, _create(storage.join(base, str(version), path)) as write:
            while block := read.read(1 << 20):
                digest.update(block)
                size += len(block)
                write.write(block)
        copied.append(ModelFile(path, size, digest.hexdigest()))
    with _create(storage.join(base, str(version), COMPLETE_FILE)) as complete:
        complete.write(dump(copied))
    return version


def fetch(source: str, folder: str) -> None:
    """Copy a model from an object store to a local folder.

    Raises:
        BadInput: `source` holds no SavedModel.
    """
    _default_options()
    for name, uri in _model_files(source).items():
        target = os.path.join(folder, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with storage.open_read(uri) as read, open(target, "wb") as write:
            while block := read.read(1 << 20):
                write.write(block)


def complete_versions(base: str) -> dict[int, str]:
    """Return the complete versions below `base` with their folders."""
    _default_options()
    complete = (name for name in _below(base) if name.count("/") == 1 and name.endswith(f"/{COMPLETE_FILE}"))
    numbers = (name.partition("/")[0] for name in complete)
    return {int(number): storage.join(base, number) for number in numbers if is_version(number)}


def _default_options() -> None:
    """Set default options for Beam's S3 client, unless a pipeline has set its own."""
    if not (FileSystems._pipeline_options or RuntimeValueProvider.runtime_options):
        FileSystems.set_options(PipelineOptions([]))


def _claim(base: str, clock: Callable[[], int], name: str) -> int:
    """Take a number above all others, for this publisher alone.

    Object stores have no locks. A publisher writes its claim below the number, then lists the claims. If it sees
    another claim, it gives way and tries a higher number. S3 and GCS list what was written, so at least one of two
    publishers sees the other's claim.
    """
    while True:
        taken = (path.partition("/")[0] for path in _below(base))
        newest = max((int(number) for number in taken if is_version(number)), default=0)
        folder = storage.join(base, str(max(clock() // 1_000_000, newest + 1)))
        claim = storage.join(folder, f"{CLAIM_PREFIX}{name}")
        with _create(claim) as file:
            file.write(name.encode())  # Beam cannot write an empty object to S3
        if all(other == f"{CLAIM_PREFIX}{name}" for other in _below(folder)):
            return int(folder.rpartition("/")[2])
        # The claim stays, so that the number remains taken and the next round chooses a higher one.


def _model_files(source: str) -> dict[str, str]:
    files, start = {}, len(source.rstrip("/")) + 1
    found = []
    for uri, size in storage.list_files(source.rstrip("/")).items():
        name = uri[start:]
        if not is_beside(name) and not os.path.isdir(uri):
            files[name] = uri
            found.append(ModelFile(name, size, None))
    check(found, source)
    return files


def _below(base: str) -> dict[str, str]:
    """Return all objects below `base`: their names relative to it, and their URIs."""
    start = len(base.rstrip("/")) + 1
    return {uri[start:]: uri for uri in storage.list_files(base.rstrip("/"))}


def _create(uri: str) -> IO[bytes]:
    """Create an object under its final name. No reader looks at it before the version is complete."""
    return FileSystems.create(uri, compression_type=CompressionTypes.UNCOMPRESSED)
