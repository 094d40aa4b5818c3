"""Run the command vae_train in process, as small as it gets, and look at what it wrote and what its model answers.

A run takes some ten seconds, half of them for the fresh process that checks the export: tests share runs, and leave
that check out (`exporting.unchecked`) where another test has made it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import pathlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from pipelines.vae_train.command import main
from tests.vae_train.exporting import FN_API_RUNNER

__all__ = ["ROOT", "TINY", "Done", "Row", "clusters", "recommended", "run", "snapshot", "tiny", "write_log"]

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = {"--hidden": "16", "--latent": "8", "--epochs": "2", "--runner": FN_API_RUNNER}
Row = tuple[str, str, int]
"""User, item, second."""


@dataclasses.dataclass(frozen=True)
class Done:
    """A command that has ended: exit code, stdout, stderr."""

    code: int
    out: str
    error: str


def run(*flags: str) -> Done:
    """The command, with a tiny model unless flags say otherwise."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as error:
        code = main(tiny(flags))
    return Done(code, out.getvalue(), error.getvalue())


def tiny(flags: Sequence[str]) -> list[str]:
    """The flags, with those of TINY that are not among them."""
    said = {flag.partition("=")[0] for flag in flags}
    return [*flags, *(f"{name}={value}" for name, value in TINY.items() if name not in said)]


def clusters(users: int, names: Sequence[str], length: int) -> list[Row]:
    """Each user has `length` items of one half of the names, of turns in steps of 1 from the user's own first item."""
    half = len(names) // 2
    return [
        (f"u{user}", names[user % 2 * half + (user // 2 + place) % half], 1_700_000_000 + 100 * user + place)
        for user in range(users)
        for place in range(length)
    ]


def write_log(
    path: pathlib.Path, rows: Sequence[Row], weights: Sequence[float] | None = None, times: bool = True
) -> str:
    """Rows as one Parquet file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ("user_id", "item_id", "timestamp") if times else ("user_id", "item_id")
    columns: dict[str, Any] = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    if weights is not None:
        columns["weight"] = pa.array(weights, pa.float64())
    pq.write_table(pa.table(columns), path)
    return str(path)


def snapshot(folder: pathlib.Path) -> dict[str, tuple[int, str]]:
    """Time of change and digest of every file below a folder, hidden ones too; empty if it is not there."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def recommended(model: pathlib.Path, histories: Sequence[Sequence[str]]) -> list[list[str]]:
    """What a SavedModel recommends for each history, best first."""
    width = max(map(len, histories))
    padded = tf.constant([[*history, *[""] * (width - len(history))] for history in histories])
    answer = tf.saved_model.load(str(model)).signatures["serving_default"](history=padded)
    return [[item.decode() for item in row if item] for row in answer["items"].numpy()]
