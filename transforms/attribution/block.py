"""The element that the reader sends to a shard: decisions and rewards as columns, with the watermarks after them.

`parsing.records` makes columns of lines. `joining.fold` joins the columns of a shard.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from serving_client.contracts.times import BEFORE_ALL_US
from transforms.attribution.packing import ColumnReader, ColumnWriter
from transforms.attribution.rules import Label

__all__ = [
    "BOT",
    "FALLBACK",
    "MARKER",
    "Block",
    "Decisions",
    "Features",
    "Rewards",
    "decode",
    "empty_block",
    "empty_decisions",
    "empty_rewards",
    "encode",
    "without_originals",
]

BOT, FALLBACK, MARKER = 1, 2, 4
"""Flags of a record: written by a bot; shown by another arm than drawn; before the checkpoint's cut, counts nothing."""


@dataclasses.dataclass(slots=True, eq=False)
class Features:
    """The feature vectors of n decisions, ragged: row i has values[offsets[i]:offsets[i + 1]]."""

    offsets: npt.NDArray[np.int64]
    values: npt.NDArray[np.int32]
    """In units of 2^-10, rounded half to even."""
    schema: npt.NDArray[np.int32]
    """[n], index into `Block.schemas`, -1 where the record names none."""


@dataclasses.dataclass(slots=True, eq=False)
class Decisions:
    """Decisions as columns [n]."""

    hi: npt.NDArray[np.uint64]
    lo: npt.NDArray[np.uint64]
    at_us: npt.NDArray[np.int64]
    rank: npt.NDArray[np.uint64]
    label: npt.NDArray[np.int32]
    """Index into `Block.labels`."""
    flags: npt.NDArray[np.uint8]
    propensity: npt.NDArray[np.float64]
    features: Features | None
    """None where no row has any."""
    raw: dict[int, tuple[str, int, bytes]]
    """Row -> (source, position, original), only where the label was unknown_* when it was read."""

    def __len__(self) -> int:
        return len(self.at_us)


@dataclasses.dataclass(slots=True, eq=False)
class Rewards:
    """Rewards as columns [n]."""

    hi: npt.NDArray[np.uint64]
    lo: npt.NDArray[np.uint64]
    event: npt.NDArray[np.uint64]
    at_us: npt.NDArray[np.int64]
    rank: npt.NDArray[np.uint64]
    kind: npt.NDArray[np.int32]
    """Index into `Block.kinds`."""
    value: npt.NDArray[np.int64]
    """Micro-units."""
    flags: npt.NDArray[np.uint8]
    event_id: list[str] | None
    """Only where some bandit's aggregate is `first`."""
    source: npt.NDArray[np.int32]
    """Index into `Block.sources`."""
    position: npt.NDArray[np.int64]
    raw: list[bytes]
    """The original of each: an orphan's dead letter needs it; empty where none can be (see `without_originals`)."""

    def __len__(self) -> int:
        return len(self.at_us)


@dataclasses.dataclass(slots=True, eq=False)
class Block:
    """The input of one shard from one chunk. `seq` numbers the chunks; -1 in a bounded run, which has no order."""

    seq: int
    tick: bool
    final: bool
    stop: bool
    holding_us: int
    maturing_us: int
    rules: bytes | None
    """The bandits file where it changed at this seq."""
    labels: list[Label]
    kinds: list[str]
    schemas: list[str]
    sources: list[str]
    decisions: Decisions
    rewards: Rewards

    def __len__(self) -> int:
        return len(self.decisions) + len(self.rewards)

    @property
    def greatest_us(self) -> int:
        """The greatest event time of all records; BEFORE_ALL_US where there are none."""
        return max(int(at.max(initial=BEFORE_ALL_US)) for at in (self.decisions.at_us, self.rewards.at_us))


def empty_decisions() -> Decisions:
    """Make columns of no decisions."""
    hashes, times = np.zeros(0, np.uint64), np.zeros(0, np.int64)
    labels, flags, propensity = np.zeros(0, np.int32), np.zeros(0, np.uint8), np.zeros(0, np.float64)
    return Decisions(hashes, hashes, times, hashes, labels, flags, propensity, None, {})


def empty_rewards(event_ids: bool = False) -> Rewards:
    """Make columns of no rewards. `event_ids`: the column of event ids exists."""
    hashes, numbers, indexes = np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int32)
    flags = np.zeros(0, np.uint8)
    ids: list[str] | None = [] if event_ids else None
    return Rewards(hashes, hashes, hashes, numbers, hashes, indexes, numbers, flags, ids, indexes, numbers, [])


def empty_block(
    seq: int,
    tick: bool = False,
    final: bool = False,
    stop: bool = False,
    holding_us: int = BEFORE_ALL_US,
    maturing_us: int = BEFORE_ALL_US,
    rules: bytes | None = None,
) -> Block:
    """Make a Block without records, which carries only the watermarks."""
    none, nothing = empty_decisions(), empty_rewards()
    return Block(seq, tick, final, stop, holding_us, maturing_us, rules, [], [], [], [], none, nothing)


def encode(block: Block) -> bytes:
    """Write a Block as bytes for this version of the program. Equal blocks give equal bytes."""
    out = ColumnWriter()
    head = [block.seq, block.tick, block.final, block.stop, block.holding_us, block.maturing_us]
    tables = [[list(label) for label in block.labels], block.kinds, block.schemas, block.sources]
    out.json([*head, block.rules is not None, *tables, len(block.decisions), len(block.rewards)])
    if block.rules is not None:
        out.texts([block.rules])
    if len(block.decisions):
        _write_decisions(out, block.decisions)
    if len(block.rewards):
        _write_rewards(out, block.rewards)
    return out.finish()


def without_originals(block: Block, needed: npt.NDArray[np.bool_]) -> Block:
    """Drop the originals of rewards that are not `needed` [rewards]. Originals are half of a reward's bytes."""
    rewards = block.rewards
    raw = [original if keep else b"" for original, keep in zip(rewards.raw, needed.tolist(), strict=True)]
    return dataclasses.replace(block, rewards=dataclasses.replace(rewards, raw=raw))


def decode(data: bytes) -> Block:
    """Read a Block that `encode` wrote. All arrays are new."""
    read = ColumnReader(data)
    fields: Any = read.json()
    seq, tick, final, stop, holding_us, maturing_us, has_rules, *tables, decisions, rewards = fields
    labels, kinds, schemas, sources = tables
    rules = read.texts(1)[0] if has_rules else None
    return Block(
        seq=seq,
        tick=tick,
        final=final,
        stop=stop,
        holding_us=holding_us,
        maturing_us=maturing_us,
        rules=rules,
        labels=[Label(*label) for label in labels],
        kinds=kinds,
        schemas=schemas,
        sources=sources,
        decisions=_read_decisions(read, decisions) if decisions else empty_decisions(),
        rewards=_read_rewards(read, rewards) if rewards else empty_rewards(),
    )


def _write_decisions(out: ColumnWriter, rows: Decisions) -> None:
    for column in (rows.hi, rows.lo, rows.rank):
        out.hashes(column)
    out.integers(rows.at_us, rising=True)
    out.integers(rows.label)
    out.integers(rows.flags)
    out.floats(rows.propensity)
    features = rows.features
    kept = [[row, source, position] for row, (source, position, _) in rows.raw.items()]
    out.json([kept, None if features is None else len(features.values)])
    out.texts([original for _, _, original in rows.raw.values()])
    if features is not None:
        out.integers(np.diff(features.offsets))
        out.integers(features.schema)
        out.integers(features.values)


def _read_decisions(read: ColumnReader, n: int) -> Decisions:
    hi, lo, rank = read.hashes(n), read.hashes(n), read.hashes(n)
    at_us, label, flags = read.integers(n, rising=True), read.integers(n), read.integers(n)
    propensity = read.floats(n)
    fields: Any = read.json()
    kept, values = fields
    originals = read.texts(len(kept))
    raw = {row: (source, at, original) for (row, source, at), original in zip(kept, originals, strict=True)}
    features = None
    if values is not None:
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(read.integers(n))])
        schema = read.integers(n).astype(np.int32)
        features = Features(offsets, read.integers(values).astype(np.int32), schema)
    labels, marks = label.astype(np.int32), flags.astype(np.uint8)
    return Decisions(hi, lo, at_us, rank, labels, marks, propensity, features, raw)


def _write_rewards(out: ColumnWriter, rows: Rewards) -> None:
    for column in (rows.hi, rows.lo, rows.event, rows.rank):
        out.hashes(column)
    out.integers(rows.at_us, rising=True)
    out.integers(rows.position, rising=True)
    for numbers in (rows.kind, rows.value, rows.flags, rows.source):
        out.integers(numbers)
    out.texts(rows.raw)
    out.json(rows.event_id is not None)
    if rows.event_id is not None:
        out.texts([text.encode() for text in rows.event_id])


def _read_rewards(read: ColumnReader, n: int) -> Rewards:
    hi, lo, event, rank = read.hashes(n), read.hashes(n), read.hashes(n), read.hashes(n)
    at_us, position = read.integers(n, rising=True), read.integers(n, rising=True)
    kind, value = read.integers(n).astype(np.int32), read.integers(n)
    flags, source = read.integers(n).astype(np.uint8), read.integers(n).astype(np.int32)
    raw = read.texts(n)
    event_id = [text.decode() for text in read.texts(n)] if read.json() else None
    return Rewards(hi, lo, event, at_us, rank, kind, value, flags, event_id, source, position, raw)
