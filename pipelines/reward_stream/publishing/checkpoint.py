"""Save the totals of what is closed and the position of the input, so that the next run can continue.

A checkpoint is a file below --state: a line with the format and the SHA-256 of the rest, then gzipped JSON. The file
appears whole. The two newest are kept. If a crash or a disk damaged the newest, the one before it is used, and more
input is read again.

A checkpoint's totals follow the attribution rules of their time. Other rules under the same policy_epoch would mix two
kinds of totals, so they are refused.
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
    """Hold one cut through the input.

    Args:
        cut_us: Decisions decided before it are in `closed`, microseconds.
        closed: Totals as `Ledger.to_state` returns them.
        segments: Segments as `Segments.to_state` returns them.
        sources: State of the sources.
        attribution: (policy_epoch, attribution key) by bandit.
        notes: Sentences for the user who starts the run, for example about a damaged file.
    """

    cut_us: int
    closed: Mapping[str, Any]
    segments: Mapping[str, list[str]]
    sources: SourceState
    attribution: Mapping[str, tuple[int, Mapping[str, Any]]]
    notes: tuple[str, ...] = ()


class CheckpointStore:
    """Save checkpoints in one folder, on any filesystem."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._last: int | None = None
        self._saved = 0

    def save(self, checkpoint: Checkpoint) -> str:
        """Write a checkpoint and remove all but the two newest that this store wrote.

        Earlier checkpoints stay until this store has written two, because the newest of the earlier ones may be
        damaged.

        Args:
            checkpoint: The checkpoint.

        Returns:
            Path of the file.
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
    """Load the newest undamaged checkpoint.

    Args:
        folder: Folder of the checkpoints.
        bandits: The bandits file.

    Returns:
        The checkpoint. None if there is none.

    Raises:
        BadInput: All checkpoints are damaged.
        Refused: The bandits file has other attribution rules, or another version of recbeam wrote the checkpoint.
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
    """Return the rules by which each bandit counts. A bandit that left the file keeps its totals, and so its rules."""
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
    """Encode a checkpoint."""
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
    """Decode what `pack` wrote, without notes.

    Args:
        data: The bytes of `pack`.

    Returns:
        The checkpoint.

    Raises:
        ValueError: The bytes are not a whole checkpoint. Decoding may raise KeyError, TypeError, EOFError, OSError or
            zlib.error, too.
    """
    head, _, packed = data.partition(b"\n")
    known, _, digest = head.partition(b" ")
    if known != _FORMAT:
        raise ValueError(f"it begins with {head[:40]!r}, unlike a checkpoint")
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
    """Lock the folder against other runs on this machine while the block runs. Object stores have no locks.

    Raises:
        Refused: Another run uses the folder.
    """
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
    """Return the value as it is read after saving. Tuples become lists."""
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
    """Write a file whole or not at all.

    On a local disk the file is synced before the rename, so that a power cut leaves the old file or the new one.
    """
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
