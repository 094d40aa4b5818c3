"""Encode what a runner keeps beside a shard's log: where the shard is, and what the log cannot restore.

The place is small and is written with every block. The carry grows with the decisions behind the cut. It is a value of
its own, because it changes only at a tick.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from pipelines.reward_stream import encoding
from serving_client.contracts.bandits import Bandit
from serving_client.contracts.times import BEFORE_ALL_US
from transforms.attribution.joining.kernels import DECISION
from transforms.attribution.rules import Label

__all__ = ["BAGS", "ShardPlace", "decode_carry", "decode_place", "encode_carry", "encode_place"]

BAGS = 8
"""One bag is appended to. The others wait until nothing in them matters. More bags hold less for too long."""

_COLUMNS = ("hi", "lo", "at", "rank", "propensity", "label", "dups", "flags")


@dataclasses.dataclass(slots=True)
class ShardPlace:
    """Hold where a shard is. All times are in microseconds.

    Args:
        bandits: Bytes of the bandits file that applies now.
        tick_bandits: Bytes of the bandits file at the last tick. The next tick reports what a change means for records
            that were counted by then.
        next_seq: Number of the block to fold next.
        version: How often the record was written.
        tick_seq: Number of the last tick's block, -1 before any.
        holding_us: The holding watermark at the last tick.
        maturing_us: The maturing watermark at the last tick.
        bag: Which bag is appended to.
        newest_us: The greatest event time in each bag.
        opened_us: The holding watermark when the current bag was begun.
    """

    bandits: bytes
    tick_bandits: bytes
    next_seq: int = 0
    version: int = 0
    tick_seq: int = -1
    holding_us: int = BEFORE_ALL_US
    maturing_us: int = BEFORE_ALL_US
    bag: int = 0
    newest_us: list[int] = dataclasses.field(default_factory=lambda: [BEFORE_ALL_US] * BAGS)
    opened_us: int = BEFORE_ALL_US


@dataclasses.dataclass(frozen=True, slots=True)
class _Carry:
    """The encoded form of `OpenRecords.carry`. behind: the number of decisions. columns: theirs, little-endian.

    The column `label` holds places in `labels`.
    """

    maxima: list[tuple[Label, int, int]]
    behind: int
    columns: dict[str, bytes]
    labels: list[Label]
    outliving: list[tuple[Label, Bandit | None]]


def encode_place(place: ShardPlace) -> bytes:
    """Encode a shard's place.

    Args:
        place: The place.

    Returns:
        Bytes for `decode_place`, with the version of the encoding.
    """
    return encoding.encode(place)


def decode_place(data: bytes) -> ShardPlace:
    """Decode what `encode_place` wrote.

    Args:
        data: The bytes of `encode_place`.

    Returns:
        The place.

    Raises:
        Refused: Another version of recbeam wrote the bytes.
    """
    return encoding.decode(data, ShardPlace)


def encode_carry(carry: dict[str, Any]) -> bytes:
    """Encode what the log of a shard cannot restore, as of the last tick.

    Args:
        carry: What `OpenRecords.carry` returned.

    Returns:
        Bytes for `decode_carry`, with the version of the encoding.
    """
    behind = carry["behind"]
    columns = (
        {name: behind[name].astype(DECISION[name].newbyteorder("<")).tobytes() for name in _COLUMNS}
        if len(behind)
        else {}
    )
    return encoding.encode(_Carry(carry["maxima"], len(behind), columns, carry["labels"], carry["outliving"]))


def decode_carry(data: bytes) -> dict[str, Any]:
    """Decode what `encode_carry` wrote.

    Args:
        data: The bytes of `encode_carry`.

    Returns:
        What `OpenRecords.restore` takes.

    Raises:
        Refused: Another version of recbeam wrote the bytes.
    """
    plain = encoding.decode(data, _Carry)
    behind = np.zeros(plain.behind, DECISION)
    for name, column in plain.columns.items():
        behind[name] = np.frombuffer(column, DECISION[name].newbyteorder("<"))
    return {"maxima": plain.maxima, "behind": behind, "labels": plain.labels, "outliving": plain.outliving}
