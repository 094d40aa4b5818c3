"""Describe in run.json which data, options and code made an output folder, and with which result."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from apache_beam.io.filesystems import FileSystems

from transforms.files import storage

__all__ = [
    "Artifact",
    "RunRecord",
    "code_version",
    "describe_inputs",
    "digest_of",
    "new_run_id",
    "parents_of",
]

_READ_BYTES = 1 << 20
_SECRET_WORDS = ("secret", "password", "token", "access_key", "credential")


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A file of an input or output.

    Args:
        digest: sha256 of the content of a local file, or of uri, size and change time of a remote file.
    """

    uri: str
    bytes: int
    digest: str
    rows: int | None = None


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """The content of run.json. Times are RFC 3339, timings seconds per stage, counters plain counts, details JSON.

    `as_of` is the latest time of an interaction that the run believed.
    """

    run_id: str
    pipeline: str
    code_version: str
    started_at: str
    options: Mapping[str, Any]
    inputs: Sequence[Artifact]
    parents: Sequence[str] = ()
    outputs: Sequence[Artifact] = ()
    counters: Mapping[str, int | float] = dataclasses.field(default_factory=dict)
    timings: Mapping[str, float] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    as_of: str | None = None
    status: str = "done"

    def to_json(self) -> str:
        """Return the text of run.json without options whose name suggests a secret."""
        fields = dataclasses.asdict(self)
        fields["options"] = {
            name: value for name, value in self.options.items() if not any(word in name for word in _SECRET_WORDS)
        }
        return json.dumps(fields, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def new_run_id(clock: Callable[[], int]) -> str:
    """Return a name for a run that sorts by time, for example 20261123T201500-3fa2c1.

    Args:
        clock: Returns microseconds since 1970.

    Returns:
        The name.
    """
    return f"{datetime.fromtimestamp(clock() / 1e6, UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"


def code_version() -> str:
    """Return the version of recbeam, with the commit if it runs from a git checkout."""
    try:
        version = importlib.metadata.version("recbeam")
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return version
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    described = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return f"{version}+{described}" if described else version


def describe_inputs(files: Mapping[str, int]) -> list[Artifact]:
    """Return name, size and digest of the files of an input. files: size in bytes by uri."""
    return [Artifact(uri, size, digest_of(uri, size)) for uri, size in sorted(files.items())]


def digest_of(uri: str, size: int) -> str:
    """Return the sha256 of a local file's content.

    For a remote file, return the sha256 of uri, size and time of change, without reading the file.
    """
    if storage.is_local(uri):
        digest = hashlib.sha256()
        with open(uri, "rb") as file:
            while chunk := file.read(_READ_BYTES):
                digest.update(chunk)
        return f"sha256:{digest.hexdigest()}"
    checksum = FileSystems.checksum(uri)
    return f"sha256-meta:{hashlib.sha256(f'{uri} {size} {checksum}'.encode()).hexdigest()}"


def parents_of(uris: Sequence[str]) -> list[str]:
    """Return run ids of the run.json beside each input, or one folder above (inputs are often DIR/part/*.parquet)."""
    found = set()
    folders = {storage.parent(uri) for uri in uris}
    for folder in folders | {storage.parent(folder) for folder in folders}:
        record = storage.read_json(storage.join(folder, "run.json"))
        if isinstance(record, dict) and "run_id" in record:
            found.add(str(record["run_id"]))
    return sorted(found)
