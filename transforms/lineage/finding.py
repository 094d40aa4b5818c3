"""Find run records, model versions and snapshots below folders, and above single files.

Nothing is written. Names that begin with a dot are skipped, and links to folders are not followed.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from transforms.files import storage
from transforms.models import manifest
from transforms.runs.run_record import Artifact

__all__ = ["Finder", "RunFile", "VersionFolder", "place_of"]

_RECORD, _GRAPH, _POINTER, _BANDITS = "run.json", "saved_model.pb", "LATEST", "bandits.yaml"
_LEVELS = 6
"""How many folders above a file may hold its run.json. The files of a SavedModel lie three below the run's folder."""


@dataclasses.dataclass(frozen=True)
class RunFile:
    """A run.json. `folder` is the run's output folder. `outputs` are by name relative to it."""

    folder: str
    run_id: str
    pipeline: str
    started_at: str
    code_version: str
    status: str
    inputs: tuple[Artifact, ...]
    outputs: Mapping[str, Artifact]
    parents: tuple[str, ...]
    options: Mapping[str, Any]
    counters: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class VersionFolder:
    """A published version of a model. `files` are those of its _COMPLETE.json, none without one."""

    folder: str
    number: int
    card: Mapping[str, Any]
    files: Mapping[str, manifest.ModelFile]

    @property
    def base(self) -> str:
        """The folder of all versions of the model."""
        return storage.parent(self.folder)


def place_of(uri: str) -> str:
    """Return the absolute path of a local file or folder, and the URI of a remote one."""
    uri = uri.removeprefix("file://")
    return os.path.realpath(uri) if storage.is_local(uri) else uri.rstrip("/")


class Finder:
    """Runs by id, published versions and snapshots by folder, and files named bandits.yaml.

    Lookups of files that lie elsewhere add to them.

    Args:
        places: Folders to search, and files whose runs to look up.
    """

    def __init__(self, places: Sequence[str]) -> None:
        self.runs: dict[str, RunFile] = {}
        self.versions: dict[str, VersionFolder] = {}
        self.pointers: dict[str, int] = {}
        self.bandits_files: list[str] = []
        self._runs_at: dict[str, RunFile | None] = {}
        self._without: set[str] = set()
        self._searched = [place for place in places if not storage.is_local(place)]
        self._marks: set[str] = set()
        for place in places:
            marks = list(_marks(place))
            self._marks |= set(marks)
            for uri in marks:
                folder, _, name = uri.rpartition("/")
                if name == _RECORD:
                    self.run_at(folder)
                elif name == _GRAPH:
                    self.version_at(folder)
                elif name == _BANDITS:
                    self.bandits_files.append(uri)
                else:
                    self.latest(folder)
            for folder in _above(place):
                self.run_at(folder)
                self.version_at(folder)

    def run_at(self, folder: str) -> RunFile | None:
        """Return the run that wrote this folder. Of copies of one run the first that was found counts."""
        if folder not in self._runs_at:
            found = _read_run(folder) if self._may_hold(folder, _RECORD) else None
            self._runs_at[folder] = self.runs.setdefault(found.run_id, found) if found else None
        return self._runs_at[folder]

    def version_at(self, folder: str) -> VersionFolder | None:
        """Return the published version in this folder. The folder `1` of a run's own model is none."""
        name = folder.rpartition("/")[2]
        if manifest.is_version(name) and folder not in self.versions and self._may_hold(folder, _GRAPH):
            if found := _read_version(folder, int(name)):
                self.versions[folder] = found
            else:
                self._without.add(f"{folder}/{_GRAPH}")
        return self.versions.get(folder)

    def latest(self, folder: str) -> int | None:
        """Return the newest version of a folder of snapshots, None for another folder."""
        if folder not in self.pointers and self._may_hold(folder, _POINTER):
            pointer = storage.read_json(storage.join(folder, _POINTER))
            version = pointer.get("version") if isinstance(pointer, dict) else None
            if isinstance(version, int) and not folder.rpartition("/")[2].startswith("_"):
                self.pointers[folder] = version
            else:
                self._without.add(f"{folder}/{_POINTER}")
        return self.pointers.get(folder)

    def _may_hold(self, folder: str, mark: str) -> bool:
        """Return whether it is worth reading a file: each read of a bucket is a request."""
        uri = f"{folder}/{mark}"
        listed = any(f"{folder}/".startswith(f"{place}/") for place in self._searched)
        return uri in self._marks if listed else uri not in self._without

    def writer_of(self, place: str) -> tuple[RunFile, str] | None:
        """Return the run whose folder holds a file as an output, with the file's name in the folder."""
        for folder in _above(place):
            run = self.run_at(folder)
            name = place[len(folder) + 1 :]
            if run and (name in run.outputs or name == _RECORD):
                return run, name
        return None

    def version_of(self, place: str) -> VersionFolder | None:
        """Return the published version that a file belongs to."""
        return next((found for folder in _above(place) if (found := self.version_at(folder))), None)

    @staticmethod
    def resolve(uri: str, folder: str) -> str:
        """Return the place of an input that a run.json in `folder` lists.

        A relative path is relative to the folder where the run was started, which run.json does not hold. It is the
        nearest folder above the output in which the path exists, or the current folder.
        """
        uri = uri.removeprefix("file://")
        if storage.is_local(uri) and not os.path.isabs(uri) and storage.is_local(folder):
            for base in (folder, *_above(folder, levels=99)):
                if os.path.exists(os.path.join(base, uri)):
                    return place_of(os.path.join(base, uri))
        return place_of(uri)


def _marks(place: str) -> Iterator[str]:
    """Yield the files below a place whose names mark a run, a model or snapshots."""
    marks = {_RECORD, _GRAPH, _POINTER, _BANDITS}
    if not storage.is_local(place):
        yield from (uri for uri in storage.list_files(place) if uri.rpartition("/")[2] in marks)
        return
    for folder, folders, names in os.walk(place):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(folder, name) for name in sorted(marks & set(names)))


def _above(place: str, levels: int = _LEVELS) -> Iterator[str]:
    """Yield the folders above a place, nearest first, without the root or the bucket's scheme."""
    for _ in range(levels):
        place = place.rpartition("/")[0]
        if not place or place.endswith(("/", ":")):
            return
        yield place


def _read_run(folder: str) -> RunFile | None:
    record = storage.read_json(storage.join(folder, _RECORD))
    if not isinstance(record, dict) or not isinstance(record.get("run_id"), str):
        return None
    return RunFile(
        folder=folder,
        run_id=record["run_id"],
        pipeline=str(record.get("pipeline", "unknown")),
        started_at=_time(record.get("started_at")),
        code_version=str(record.get("code_version", "unknown")),
        status=str(record.get("status", "unknown")),
        inputs=tuple(_artifacts(record.get("inputs"))),
        outputs={each.uri: each for each in _artifacts(record.get("outputs"))},
        parents=tuple(map(str, _list(record.get("parents")))),
        options=_mapping(record.get("options")),
        counters=_mapping(record.get("counters")),
    )


def _read_version(folder: str, number: int) -> VersionFolder | None:
    uri = storage.join(folder, manifest.COMPLETE_FILE)
    complete = storage.read_json(uri)
    if complete is None and not storage.list_files(storage.join(folder, _GRAPH)):
        return None
    card = storage.read_json(storage.join(folder, "assets.extra", "model_card.json"))
    files = [
        manifest.ModelFile(each["name"], each["size"], each["sha256"])
        for each in _list(_mapping(complete).get("files"))
        if isinstance(each, dict) and {"name", "size", "sha256"} <= set(each)
    ]
    return VersionFolder(folder, number, _mapping(card), {file.name: file for file in files})


def _artifacts(value: Any) -> Iterator[Artifact]:
    """Yield the files that run.json lists. What is not a file with uri, bytes and digest is skipped."""
    for each in _list(value):
        if isinstance(each, dict) and isinstance(each.get("uri"), str):
            yield Artifact(each["uri"], int(each.get("bytes") or 0), str(each.get("digest", "")), each.get("rows"))


def _time(value: Any) -> str:
    """Return an RFC 3339 time, or an empty string for anything else."""
    try:
        return value if datetime.fromisoformat(value).tzinfo else ""
    except (TypeError, ValueError):
        return ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
