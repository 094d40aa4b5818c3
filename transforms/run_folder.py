"""An output folder that a reader sees whole or not at all, and that a rerun recognises.

A run works in DIR/.tmp-RUNID; `commit` renames the parts into place and writes run.json last, so a folder with a
run.json is complete. On object stores, which cannot rename a folder, each file is moved and _COMPLETE.json, with name,
size and sha256 of every file, is written at the very end.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from transforms import storage
from transforms.errors import BadUsage
from transforms.run_record import Artifact, RunRecord, digest_of

__all__ = ["RunFolder", "already_done", "open_folder"]

_RECORD, _COMPLETE = "run.json", "_COMPLETE.json"


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """One run's place: `output` is the folder of the contract, `work` its .tmp-RUNID while the run lasts."""

    output: str
    work: str

    def path(self, *parts: str) -> str:
        """A path in the working folder."""
        return storage.join(self.work, *parts)

    def commit(self, parts: Sequence[str], record: RunRecord) -> RunRecord:
        """Move the named parts of the working folder into place, replacing old ones; run.json comes last."""
        for marker in (_COMPLETE, _RECORD):  # from here until the end the folder counts as incomplete
            storage.remove(storage.join(self.output, marker))
        for part in parts:
            target = storage.join(self.output, part)
            storage.remove(target)
            if storage.is_local(self.output):
                if os.path.exists(self.path(part)):
                    storage.move(self.path(part), target)
            else:
                for source in list(storage.list_files(self.path(part))) + list(
                    storage.list_files(self.path(part, "**"))
                ):
                    storage.move(source, storage.join(self.output, source[len(self.work) + 1 :]))
        record = dataclasses.replace(record, outputs=_artifacts(self.output, parts))
        text = record.to_json().encode()
        with storage.write_whole(storage.join(self.output, _RECORD)) as file:
            file.write(text)
        if not storage.is_local(self.output):
            with storage.write_whole(storage.join(self.output, _COMPLETE)) as file:
                file.write(_manifest(self.output, parts))
        storage.remove(self.work)
        return record

    def discard(self) -> None:
        """Remove the working folder; what was in the output folder before stays as it was."""
        storage.remove(self.work)


def open_folder(output: str, run_id: str, overwrite: bool) -> RunFolder:
    """A working folder in `output`. Raises BadUsage where `output` holds something else and overwrite is off."""
    record = storage.read_json(storage.join(output, _RECORD))
    if not overwrite:
        if record is not None:
            raise BadUsage(
                f"{output}: holds run {record.get('run_id')} with other options or inputs; "
                "pass --overwrite or another --output"
            )
        present = [name for name in _names(output) if not name.startswith(".")]
        if present:
            raise BadUsage(f"{output}: is not empty (it holds {present[0]}); pass --overwrite or another --output")
    folder = RunFolder(output, storage.join(output, f".tmp-{run_id}"))
    storage.make_folder(folder.work)
    return folder


def already_done(output: str, pipeline: str, options: Mapping[str, Any], inputs: Sequence[Artifact]) -> bool:
    """Whether `output` is the finished output of the same pipeline with equal options and input digests."""
    record = storage.read_json(storage.join(output, _RECORD))
    if not isinstance(record, dict) or record.get("status") != "done" or record.get("pipeline") != pipeline:
        return False
    same_inputs = [each.get("digest") for each in record.get("inputs", [])] == [each.digest for each in inputs]
    return same_inputs and record.get("options") == json.loads(json.dumps(dict(options)))


def _names(output: str) -> list[str]:
    if storage.is_local(output):
        return sorted(os.listdir(output)) if os.path.isdir(output) else []
    return [uri[len(output) :].lstrip("/") for uri in storage.list_files(storage.join(output, "**"))]


def _files(output: str, parts: Sequence[str]) -> dict[str, int]:
    files: dict[str, int] = {}
    for part in parts:
        uri = storage.join(output, part)
        files |= storage.list_files(uri) if not os.path.isdir(uri) else {}
        files |= storage.list_files(storage.join(uri, "**"))
    return {uri: size for uri, size in files.items() if not os.path.isdir(uri)}


def _artifacts(output: str, parts: Sequence[str]) -> list[Artifact]:
    return [
        Artifact(uri[len(output) :].lstrip("/"), size, digest_of(uri, size))
        for uri, size in sorted(_files(output, parts).items())
    ]


def _manifest(output: str, parts: Sequence[str]) -> bytes:
    files = []
    for uri in [*_files(output, parts), storage.join(output, _RECORD)]:
        with storage.open_read(uri) as file:
            content = file.read()
        name = uri[len(output) :].lstrip("/")
        files.append({"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    return json.dumps({"files": files}, indent=1).encode()
