"""The records of decision and reward logs, one by one, for tools beside the stream; `sources` reads blocks.

Lines that are no JSON object are passed over: the stream counts and keeps them.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import orjson

from pipelines.reward_stream.sources.listing import list_files
from transforms.errors import BadInput
from transforms.files import storage

__all__ = ["files_of", "lines_of", "read_decisions", "record_of"]


def files_of(pattern: str, flag: str) -> list[str]:
    """The files that a pattern names, by name; raises BadInput where there are none. flag: whose value it is."""
    found = sorted(list_files(pattern))
    if not found:
        raise BadInput(f"{flag}={pattern}: no such file; check the pattern")
    return found


def lines_of(uri: str) -> Iterator[bytes]:
    """The lines of a file without their ends, blank ones left out."""
    with storage.open_read(uri) as stored, gzip.open(stored) if uri.endswith(".gz") else stored as file:
        for line in file:
            if text := line.rstrip(b"\r\n"):
                yield text


def record_of(line: bytes) -> dict[str, Any] | None:
    """The object of a line, None where it holds none."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


def read_decisions(pattern: str) -> Iterator[dict[str, Any]]:
    """The decisions of logs, by file name and line, that name a bandit, an epoch, an arm and a propensity."""
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
