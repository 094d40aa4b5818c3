"""Where a run was, saved so that the next one can go on: totals of what is closed, and where to read on.

A checkpoint is a file below --state: a line with the format and the SHA-256 of the rest, then gzipped JSON. It appears
whole, and the two newest are kept: one that a crash or a disk damaged is passed over for the one before, which only
means that more is read again. What a checkpoint counts it counts by the attribution rules of its time; other rules
under the same policy_epoch would mix two kinds of totals, and are refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.reward_stream.sources.reports import SourceState
from serving_client.contracts.bandits import Bandit, Bandits, attribution_key
from serving_client.contracts.canonical import canonical_json
from transforms.errors import BadInput, Refused
from transforms.files import storage
from transforms.files.durable import fsync, one_at_a_time

__all__ = ["Checkpoint", "CheckpointStore", "attribution_keys", "check_rules", "hold", "load", "pack", "unpack"]

_FORMATS = b"recbeam-checkpoint-"
_FORMAT = _FORMATS + b"1"
_KEPT = 2
_NAME = re.compile(r"checkpoint-(\d{10})\.json\.gz")


@dataclasses.dataclass(frozen=True, slots=True)
class Checkpoint:
    """One cut through the input.

    cut_us: decisions decided before it are in `closed`. closed, segments: as `Ledger.to_state` and
    `Segments.to_state` give them. attribution: (policy_epoch, attribution key) by bandit. notes: what to tell the
    person who starts the run, e.g. of a damaged file.
    """

    cut_us: int
    closed: Mapping[str, Any]
    segments: Mapping[str, list[str]]
    sources: SourceState
    attribution: Mapping[str, tuple[int, Mapping[str, Any]]]
    notes: tuple[str, ...] = ()


class CheckpointStore:
    """The checkpoints below one folder, on any filesystem."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._last: int | None = None
        self._saved = 0

    def save(self, checkpoint: Checkpoint) -> str:
        """Write a checkpoint and remove what is older than the two newest that this store wrote; returns its place.

        Older ones stay until then: of those that were there, the newest may be damaged.
        """
        if self._last is None:
            self._last = max(_numbers(self._folder), default=0)
        place = _place(self._folder, self._last + 1)
        _write(place, pack(checkpoint))
        self._last += 1
        self._saved += 1
        if self._saved >= _KEPT:
            for number in _numbers(self._folder):
                if number <= self._last - _KEPT:
                    storage.remove(_place(self._folder, number))
        return place


def load(folder: str, bandits: Bandits) -> Checkpoint | None:
    """The newest whole checkpoint, None where there is none.

    Raises BadInput where there are checkpoints and all are damaged, Refused where the bandits file counts otherwise.
    """
    notes: list[str] = []
    for number in sorted(_numbers(folder), reverse=True):
        place = _place(folder, number)
        data = _read(place)
        _check_format(place, data)
        try:
            checkpoint = unpack(data)
        except (ValueError, KeyError, TypeError, EOFError, OSError, zlib.error) as error:
            notes.append(f"{place}: damaged ({error}); going on from the checkpoint before it")
            continue
        check_rules(folder, checkpoint.attribution, bandits)
        return dataclasses.replace(checkpoint, notes=tuple(notes))
    if notes:
        raise BadInput(f"{folder}: all checkpoints are damaged; remove the folder, and all input is read again")
    return None


def attribution_keys(
    bandits: Bandits, former: Mapping[str, tuple[int, Mapping[str, Any]]]
) -> dict[str, tuple[int, Mapping[str, Any]]]:
    """By which rules each bandit counts; a bandit that left the file keeps its totals, and so its rules."""
    return {**former, **{name: (one.policy_epoch, attribution_key(one)) for name, one in bandits.bandits.items()}}


def check_rules(folder: str, saved: Mapping[str, tuple[int, Mapping[str, Any]]], bandits: Bandits) -> None:
    """Raise Refused if a bandit's totals were counted by other rules than its present epoch has."""
    differences = [
        difference
        for bandit_id, (epoch, key) in sorted(saved.items())
        if (bandit := bandits.bandits.get(bandit_id)) is not None and bandit.policy_epoch == epoch
        for difference in _differences(bandit, key)
    ]
    if differences:
        raise Refused(
            f"{folder}: {'; '.join(differences)}; put the former value back, or raise the bandit's policy_epoch, "
            f"with which its statistics start empty"
        )


def pack(checkpoint: Checkpoint) -> bytes:
    """The bytes of a checkpoint's file."""
    content = {
        "cut_us": checkpoint.cut_us,
        "closed": checkpoint.closed,
        "segments": checkpoint.segments,
        "sources": checkpoint.sources.to_json(),
        "attribution": checkpoint.attribution,
    }
    packed = gzip.compress(canonical_json(content), compresslevel=1, mtime=0)
    return b"%s %s\n%s" % (_FORMAT, hashlib.sha256(packed).hexdigest().encode(), packed)


def unpack(data: bytes) -> Checkpoint:
    """What `pack` wrote, without notes; raises ValueError and its kin for anything but a whole checkpoint."""
    head, _, packed = data.partition(b"\n")
    known, _, digest = head.partition(b" ")
    if known != _FORMAT:
        raise ValueError(f"its beginning is no checkpoint's: {head[:40]!r}")
    if hashlib.sha256(packed).hexdigest().encode() != digest:
        raise ValueError("its SHA-256 differs")
    content = json.loads(gzip.decompress(packed))
    return Checkpoint(
        cut_us=content["cut_us"],
        closed=content["closed"],
        segments=content["segments"],
        sources=SourceState.from_json(content["sources"]),
        attribution={name: (epoch, key) for name, (epoch, key) in content["attribution"].items()},
    )


@contextlib.contextmanager
def hold(folder: str) -> Iterator[None]:
    """Keep other runs of this machine from the folder. Raises Refused if one has it. Object stores know no locks."""
    if not storage.is_local(folder):
        yield
        return
    storage.make_folder(folder)
    with one_at_a_time(Path(folder, "lock"), waiting=functools.partial(_refuse, folder)):
        yield


def _refuse(folder: str) -> None:
    raise Refused(f"{folder}: another run is using it; stop that one, or pass --state another folder")


def _check_format(place: str, data: bytes) -> None:
    head = data[: len(_FORMAT) + 1]
    if head.startswith(_FORMATS) and head != _FORMAT + b" ":
        raise Refused(f"{place}: written by another version of recbeam ({head!r}); use that one, or another folder")


def _differences(bandit: Bandit, saved: Mapping[str, Any]) -> Iterator[str]:
    present = _as_json(attribution_key(bandit))
    for name in sorted({*present, *saved}):
        was, now = saved.get(name), present.get(name)
        if was != now:
            where = f"bandit {bandit.bandit_id}, policy_epoch {bandit.policy_epoch}"
            yield f"{where}: {name} was {json.dumps(was)} and is {json.dumps(now)}"


def _as_json(value: Mapping[str, Any]) -> dict[str, Any]:
    """As it will read when it has been saved: tuples are lists."""
    loaded: dict[str, Any] = json.loads(canonical_json(value))
    return loaded


def _numbers(folder: str) -> list[int]:
    names = (os.path.basename(uri) for uri in storage.list_files(folder))
    return [int(match[1]) for name in names if (match := _NAME.fullmatch(name))]


def _place(folder: str, number: int) -> str:
    return storage.join(folder, f"checkpoint-{number:010d}.json.gz")


def _read(place: str) -> bytes:
    with storage.open_read(place) as file:
        return file.read()


def _write(place: str, data: bytes) -> None:
    """Whole or not at all; on a local disk before the rename, so that a power cut leaves the old one or the new one."""
    if not storage.is_local(place):
        with storage.write_whole(place) as file:
            file.write(data)
        return
    path = Path(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    with open(partial, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    os.replace(partial, path)
    fsync(path.parent)
