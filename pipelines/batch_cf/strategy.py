"""Choose how item pairs are summed before the graph is built, from a bound on the number of rows.

The bound of a Parquet file is the number of rows in its footer. The bound of a text file is its size, divided by the
shortest possible row. So a log that is chosen for broadcast never needs more memory than the limit.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Sequence
from typing import Literal, NamedTuple

import pyarrow.parquet as pq

from pipelines.batch_cf.options import CfSettings
from pipelines.batch_cf.rules import HistoryRules
from transforms.interactions.columns import Columns
from transforms.interactions.files import InputFile, open_binary, sniff
from transforms.interactions.format import InteractionFormat

__all__ = ["Choice", "Strategy", "choose_by_size", "choose_strategy", "has_weights", "matrix_bytes", "most_rows"]

Strategy = Literal["broadcast", "shuffle"]

GZIP_RATIO = 10
"""How often text shrinks in gzip at most. Logs shrink by 3 to 6: MovieLens 2.4, MOOC 3.5, Globo 6.1."""

_OPEN_FILES = 16
"""Files read at a time. Reading a footer from an object store is waiting, not work."""


class Choice(NamedTuple):
    """How pairs are summed, and the reason as a note for the user."""

    strategy: Strategy
    note: str


def choose_strategy(settings: CfSettings, files: Sequence[InputFile], columns: Columns) -> Choice:
    """Choose how pairs are summed. The files are opened only if the flags leave it open."""
    needed_by = {
        "--keep_increment": settings.keep_increment,
        "--base": settings.base,
        "--similarity=ease": settings.measure.name == "ease",
    }
    for flag, value in needed_by.items():
        if value:
            return Choice("shuffle", f"strategy shuffle, required by {flag}")
    if settings.strategy != "auto":
        return Choice(settings.strategy, f"strategy {settings.strategy}, set by --strategy")
    rows = most_rows(files, columns, settings.interactions.format)
    return choose_by_size(rows, has_weights(columns, settings.rules), settings.broadcast_bytes)


def choose_by_size(rows: int, weighted: bool, broadcast_bytes: int) -> Choice:
    """Take broadcast if the matrix fits a worker, else shuffle.

    Args:
        rows: Most rows that the input can have.
        weighted: Whether interactions have weights.
        broadcast_bytes: Largest matrix in bytes that a worker holds.

    Returns:
        The choice.
    """
    # The rows bound the interactions, the users and the items alike.
    most_bytes = matrix_bytes(interactions=rows, users=rows, items=rows, weighted=weighted)
    size, limit = f"at most {rows:,} rows need {most_bytes / 2**20:,.0f} MiB", f"{broadcast_bytes / 2**20:,.0f} MiB"
    if most_bytes <= broadcast_bytes:
        return Choice("broadcast", f"strategy broadcast: {size}, the limit is {limit}")
    return Choice("shuffle", f"strategy shuffle: {size}, the limit of broadcast is {limit}")


def matrix_bytes(interactions: int, users: int, items: int, weighted: bool) -> int:
    """Return the size of the histories in both orders: `histories.HistoryMatrix` and `histories.ItemMajor`."""
    entry_bytes = 4 + 4 + ((8 + 8) if weighted else 0)
    return interactions * entry_bytes + 8 * (users + 1) + 8 * (items + 1)


def has_weights(columns: Columns, rules: HistoryRules) -> bool:
    """Return whether histories of files with these columns have weights."""
    weighs = columns.weight is not None or rules.half_life_us is not None or rules.dedupe == "sum"
    return weighs and not rules.binary


def most_rows(files: Sequence[InputFile], columns: Columns, format: InteractionFormat) -> int:
    """Return the most rows that files can have. Of a Parquet file only the footer is read, of text the first 4 KiB.

    A file that cannot be read counts no row here. The run fails when it reads the file.

    Args:
        files: The input.
        columns: The columns that a run reads.
        format: Format of the files.

    Returns:
        The rows of all files.
    """

    def count(file: InputFile) -> int:
        try:
            return _most_rows_of(file, columns, format)
        except Exception:  # FileFault, OSError, EOFError, Arrow's errors, and those of object stores' clients
            return 0

    with concurrent.futures.ThreadPoolExecutor(_OPEN_FILES) as pool:
        return sum(pool.map(count, files))


def _most_rows_of(file: InputFile, columns: Columns, format: InteractionFormat) -> int:
    with open_binary(file.uri) as stream:
        content = sniff(stream)
        if content.kind == "parquet":
            return int(pq.read_metadata(stream).num_rows)
    kind = content.kind if format.input_format == "auto" else format.input_format
    text_bytes = file.size_bytes * (GZIP_RATIO if content.gzipped else 1)
    shortest = _shortest_json(columns) if kind == "jsonl" else _shortest_csv(columns)
    return -(-text_bytes // shortest)


def _shortest_csv(columns: Columns) -> int:
    """Return the bytes of a row like `1,2`: a character a column, each followed by a delimiter or the line's end."""
    return 2 * len(columns.names)


def _shortest_json(columns: Columns) -> int:
    """Return the bytes of a row like `{"user":1,"item":2}`, with the line's end."""
    return sum(len(f'"{name}":1,'.encode()) for name in columns.names) + len("{}")
