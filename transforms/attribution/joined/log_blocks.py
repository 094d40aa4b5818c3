"""Read a range of a log to blocks, one per shard of decision ids, with the details of their records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from transforms.attribution.block import encode, without_originals
from transforms.attribution.joined.details import details_of
from transforms.attribution.parsing.columns import DecisionColumns, to_blocks
from transforms.attribution.parsing.file_ranges import FileRange, range_lines
from transforms.attribution.parsing.keys import shard_of
from transforms.attribution.parsing.log_lines import parse_lines
from transforms.attribution.rules import Rules
from transforms.dead_letters import DeadLetter

__all__ = ["LogBlock", "RangeRead", "read_details", "read_range", "write_details"]


class LogBlock(NamedTuple):
    """The decisions or the rewards of one range and shard.

    Args:
        block: The records, as `block.encode` writes them.
        details: Their details, as `write_details` writes them.
    """

    block: bytes
    details: bytes


class RangeRead(NamedTuple):
    """What a range holds.

    Args:
        blocks: The good records by shard. Shards without records are missing.
        rejected: The malformed and future lines.
        counts: `records_read`, `malformed` and `future`.
    """

    blocks: dict[int, LogBlock]
    rejected: list[DeadLetter]
    counts: Mapping[str, int]


def read_range(part: FileRange, rules: Rules, shards: int, now_us: int) -> RangeRead:
    """Read a range.

    Args:
        part: The range.
        rules: The rules of the bandits file.
        shards: Number of shards.
        now_us: The clock, microseconds. It replaces a missing received_at.

    Raises:
        BadInput: The file cannot be read.
    """
    columns, rejected, records_read = parse_lines(part.source, *range_lines(part), rules, now_us)
    details = details_of(columns)
    if isinstance(columns, DecisionColumns):
        columns.features = None  # the details have them as they were written
        divided = to_blocks(columns, None, shards, part.name)
    else:
        divided = to_blocks(None, columns, shards, part.name)
    blocks = {}
    shard = shard_of(columns.lo, shards)
    for number, block in enumerate(divided):
        if len(block):
            plain = without_originals(block, np.zeros(len(block.rewards), np.bool_))
            rows = pa.array(np.flatnonzero(shard == number))
            blocks[number] = LogBlock(encode(plain), write_details(details.take(rows)))
    letters = [
        DeadLetter(part.name, each.position, f"{each.outcome}: {each.reason}", each.original) for each in rejected
    ]
    outcomes = Counter(each.outcome for each in rejected)
    counts = {"records_read": records_read, "malformed": outcomes["malformed"], "future": outcomes["future"]}
    return RangeRead(blocks, letters, counts)


def write_details(batch: pa.RecordBatch) -> bytes:
    """Encode a batch. Its texts repeat, so it is compressed."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_details(data: bytes) -> pa.Table:
    """Decode a batch that `write_details` wrote."""
    return pa.ipc.open_stream(data).read_all()
