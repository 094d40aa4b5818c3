"""Write an output folder that is visible only when complete and that a rerun recognises.

A run works in DIR/.tmp-RUNID. `commit` renames the parts into place and writes run.json last, so a folder with a
run.json is complete. Object stores cannot rename a folder, so each file is moved there, and _COMPLETE.json, with name,
size and sha256 of every file, is written at the very end. One run at a time writes to a local folder. The next run
removes what a killed run left there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transforms.errors import BadUsage
from transforms.files import storage
from transforms.runs.run_record import Artifact, RunRecord, digest_of

__all__ = ["RunFolder", "already_done", "check_apart", "is_complete", "open_folder"]

_RECORD, _COMPLETE, _COMMITTING = "run.json", "_COMPLETE.json", ".committing"
_LOCK, _WORK, _REJECTED = ".lock", ".tmp-", "rejected"


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The folders of one run: `output` is the folder of the contract, `work` its .tmp-RUNID while the run lasts."""

    output: str
    work: str

    def path(self, *parts: str) -> str:
        """Return a path in the working folder."""
        return storage.join(self.work, *parts)

    def commit(self, parts: Sequence[str], record: RunRecord) -> RunRecord:
        """Move the named parts of the working folder into place, replace old parts, and write run.json last."""
        with storage.write_whole(storage.join(self.output, _COMMITTING)) as file:
            file.write(f"run {record.run_id} is moving its parts into place\n".encode())
        for name in (_COMPLETE, _RECORD, _REJECTED, *parts):  # from here until the end the folder is not complete
            storage.remove(storage.join(self.output, name))
        for part in parts:
            self._move(part)
        record = dataclasses.replace(record, outputs=_artifacts(self.output, parts))
        with storage.write_whole(storage.join(self.output, _RECORD)) as file:
            file.write(record.to_json().encode())
        if not storage.is_local(self.output):
            with storage.write_whole(storage.join(self.output, _COMPLETE)) as file:
                file.write(_manifest(self.output, parts))
        storage.remove(storage.join(self.output, _COMMITTING))
        return record

    def keep_rejected(self, letters: str) -> str:
        """Move the dead letters of a refused run from the working folder to DIR/rejected for the user."""
        target = storage.join(self.output, _REJECTED)
        storage.remove(target)
        for source in storage.list_files(self.path(letters)):
            place = storage.join(target, source.rsplit("/", 1)[-1])
            storage.make_folder(target)
            storage.move(source, place)
        return target

    def _move(self, part: str) -> None:
        if not storage.is_local(self.output):
            for source in storage.list_files(self.path(part)):
                storage.move(source, storage.join(self.output, source[len(self.work) :].lstrip("/")))
        elif os.path.exists(self.path(part)):
            storage.move(self.path(part), storage.join(self.output, part))


@contextlib.contextmanager
def open_folder(output: str, run_id: str, overwrite: bool) -> Iterator[RunFolder]:
    """Open a working folder in `output` and remove it when the block ends.

    Args:
        output: Folder of the output.
        run_id: Name of the run.
        overwrite: Allow an output that holds something else.

    Yields:
        The folder. Parts that are not committed when the block ends are lost.

    Raises:
        BadUsage: `output` holds something else and overwrite is off, or it cannot be written, or another run uses it.
    """
    record = storage.read_json(storage.join(output, _RECORD))
    if not overwrite and isinstance(record, dict):
        raise BadUsage(
            f"{output}: holds run {record.get('run_id')} with other options or inputs; "
            "pass --overwrite or another --output"
        )
    names = _names(output)
    present = [name for name in names if not name.startswith(".") and name != _REJECTED]
    if present and not overwrite and _COMMITTING not in names:
        raise BadUsage(f"{output}: is not empty (it holds {present[0]}); pass --overwrite or another --output")
    folder = RunFolder(output, storage.join(output, _WORK + run_id))
    with _only_run(output):
        for name in names:
            if name.startswith(_WORK):
                storage.remove(storage.join(output, name))
        storage.make_folder(folder.work)
        try:
            yield folder
        finally:
            storage.remove(folder.work)


def already_done(output: str, pipeline: str, options: Mapping[str, Any], inputs: Sequence[Artifact]) -> bool:
    """Return whether `output` is the complete output of the same pipeline with equal options and input digests."""
    record = storage.read_json(storage.join(output, _RECORD))
    if not is_complete(output) or record.get("pipeline") != pipeline:
        return False
    same_inputs = [each.get("digest") for each in record.get("inputs", [])] == [each.digest for each in inputs]
    return same_inputs and record.get("options") == json.loads(json.dumps(dict(options)))


def is_complete(output: str) -> bool:
    """Return whether `output` has a run.json (on object stores a _COMPLETE.json too) and every file that it names."""
    record = storage.read_json(storage.join(output, _RECORD))
    if not isinstance(record, dict) or record.get("status") != "done":
        return False
    if not storage.is_local(output) and storage.read_json(storage.join(output, _COMPLETE)) is None:
        return False
    present = {_below(output, uri): size for uri, size in storage.list_files(output).items()}
    return all(present.get(each["uri"]) == each["bytes"] for each in record.get("outputs", []))


def check_apart(output: str, inputs: Sequence[str]) -> None:
    """Check that no input lies in the output folder, where a rerun would read or replace it.

    Args:
        output: Folder of the output.
        inputs: Uris of the inputs.

    Raises:
        BadUsage: An input lies in the output folder.
    """
    root = os.path.realpath(output) if storage.is_local(output) else output.rstrip("/")
    for uri in inputs:
        if (os.path.realpath(uri) if storage.is_local(uri) else uri).startswith(root + "/"):
            raise BadUsage(f"{uri}: is an input and lies in --output={output}; choose another --output")


@contextlib.contextmanager
def _only_run(output: str) -> Iterator[None]:
    """Lock a local folder. An object store has no lock, and the last run to finish wins there."""
    if not storage.is_local(output):
        yield
        return
    was_there = os.path.isdir(output)
    try:
        storage.make_folder(output)
        lock = open(os.path.join(output, _LOCK), "w")  # noqa: SIM115 - held until the block ends
    except OSError as error:
        raise BadUsage(f"{output}: cannot be written ({error.strerror}); choose another --output") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadUsage(f"{output}: another run is writing there; wait for it or choose another --output") from error
        try:
            yield
        finally:
            os.remove(lock.name)
            if not was_there and not os.listdir(output):
                os.rmdir(output)


def _names(output: str) -> list[str]:
    if storage.is_local(output):
        return sorted(os.listdir(output)) if os.path.isdir(output) else []
    return sorted({_below(output, uri).split("/")[0] for uri in storage.list_files(output)})


def _below(output: str, uri: str) -> str:
    return uri[len(output) :].lstrip("/")


def _artifacts(output: str, parts: Sequence[str]) -> list[Artifact]:
    found = {uri: size for part in parts for uri, size in storage.list_files(storage.join(output, part)).items()}
    return [Artifact(_below(output, uri), size, digest_of(uri, size)) for uri, size in sorted(found.items())]


def _manifest(output: str, parts: Sequence[str]) -> bytes:
    files = []
    for name in (*parts, _RECORD):
        for uri in storage.list_files(storage.join(output, name)):
            with storage.open_read(uri) as file:
                content = file.read()
            digest = hashlib.sha256(content).hexdigest()
            files.append({"name": _below(output, uri), "size": len(content), "sha256": digest})
    return json.dumps({"files": files}, indent=1).encode()
