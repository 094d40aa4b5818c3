"""Read the records of decision and reward logs one by one, for tools beside the stream. `sources` reads blocks.

Lines that are no JSON object are skipped. The stream counts and keeps them.
"""

from __future__ import annotations

import codecs
import gzip
from collections.abc import Iterator
from typing import Any

import orjson

from pipelines.reward_stream.sources.listing import list_files
from transforms.errors import BadInput
from transforms.files import storage

__all__ = ["files_of", "lines_of", "read_decisions", "record_of"]


def files_of(pattern: str, flag: str) -> list[str]:
    """List the files of a pattern, sorted by name.

    Args:
        pattern: Glob.
        flag: Flag whose value the pattern is, for the error.

    Returns:
        The names.

    Raises:
        BadInput: There are no files.
    """
    found = sorted(list_files(pattern))
    if not found:
        raise BadInput(f"{flag}={pattern}: no such file; check the pattern")
    return found


def lines_of(uri: str) -> Iterator[bytes]:
    """Yield the lines of a file without their line ends. Blank lines and a byte order mark are skipped."""
    with storage.open_read(uri) as stored, gzip.open(stored) if uri.endswith(".gz") else stored as file:
        for number, line in enumerate(file):
            if text := (line if number else line.removeprefix(codecs.BOM_UTF8)).rstrip(b"\r\n"):
                yield text


def record_of(line: bytes) -> dict[str, Any] | None:
    """Parse a line. Return None if it holds no JSON object."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


def read_decisions(pattern: str) -> Iterator[dict[str, Any]]:
    """Yield the decisions of logs, by file name and line.

    Records without a bandit, an epoch, an arm or a propensity are skipped.

    Args:
        pattern: Glob of the decision logs.

    Yields:
        The decisions.
    """
    for uri in files_of(pattern, "--decisions"):
        for line in lines_of(uri):
            record = record_of(line)
            if record is not None and _is_decision(record):
                yield record


def _is_decision(record: dict[str, Any]) -> bool:
    return (
        isinstance(record.get("bandit_id"), str)
        and isinstance(record.get("policy_epoch"), int)
        and isinstance(record.get("arm_id"), str)
        and isinstance(record.get("propensity"), int | float)
    )
