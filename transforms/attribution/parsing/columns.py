"""The good records of some lines as columns, and their division into one block per shard.

`records` makes columns of lines.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from transforms.attribution.block import Block, Decisions, Features, Rewards, empty_block
from transforms.attribution.parsing.keys import shard_of
from transforms.attribution.rules import Label

__all__ = ["DecisionColumns", "LineSpan", "RewardColumns", "to_blocks"]

T = TypeVar("T")
Rows = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LineSpan:
    """Consecutive lines of a file.

    Args:
        data: The lines.
        base: Position of the first line in the file.
    """

    data: bytes
    base: int

    def original(self, position: int, end: int) -> bytes:
        """Return the line between two positions of the file, without its line end."""
        return self.data[position - self.base : end - self.base].removesuffix(b"\r")


@dataclasses.dataclass(slots=True, eq=False)
class DecisionColumns:
    """Decisions as the columns [n] of `block.Decisions`, and the place of each line.

    Args:
        lines: The lines of the decisions.
        position: Position of a decision's line in its file.
        end: Position after the line, without its LF.
        hi: High half of the key of `decision_id`.
        lo: Low half of the key.
        at_us: `decided_at` in microseconds.
        rank: Rank among conflicting copies.
        label: Index into `labels`.
        labels: Distinct labels. It may hold entries that no row uses.
        flags: BOT and FALLBACK of `block`.
        propensity: Probability of the drawn arm.
        features: Feature vectors. Its schema is an index into `schemas`.
        schemas: Distinct feature schemas. It may hold entries that no row uses.
    """

    lines: LineSpan
    position: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    hi: npt.NDArray[np.uint64]
    lo: npt.NDArray[np.uint64]
    at_us: npt.NDArray[np.int64]
    rank: npt.NDArray[np.uint64]
    label: npt.NDArray[np.int32]
    labels: list[Label]
    flags: npt.NDArray[np.uint8]
    propensity: npt.NDArray[np.float64]
    features: Features | None
    schemas: list[str]

    def __len__(self) -> int:
        return len(self.at_us)

    def original(self, row: int) -> bytes:
        """Return the bytes of a row's line, without its line end."""
        return self.lines.original(int(self.position[row]), int(self.end[row]))

    def select(self, mask: npt.NDArray[np.bool_]) -> DecisionColumns:
        """Return the rows where `mask`, bool [n], is true."""
        return self if mask.all() else self.take(np.flatnonzero(mask))

    def take(self, rows: Rows) -> DecisionColumns:
        """Return the rows of these numbers, in this order."""
        return DecisionColumns(
            lines=self.lines,
            position=self.position[rows],
            end=self.end[rows],
            hi=self.hi[rows],
            lo=self.lo[rows],
            at_us=self.at_us[rows],
            rank=self.rank[rows],
            label=self.label[rows],
            labels=self.labels,
            flags=self.flags[rows],
            propensity=self.propensity[rows],
            features=None if self.features is None else _take_features(self.features, rows),
            schemas=self.schemas,
        )


@dataclasses.dataclass(slots=True, eq=False)
class RewardColumns:
    """Rewards as the columns [n] of `block.Rewards`, and the place of each line (see DecisionColumns).

    `kind` is an index into `kinds`.
    """

    lines: LineSpan
    position: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    hi: npt.NDArray[np.uint64]
    lo: npt.NDArray[np.uint64]
    event: npt.NDArray[np.uint64]
    at_us: npt.NDArray[np.int64]
    rank: npt.NDArray[np.uint64]
    kind: npt.NDArray[np.int32]
    kinds: list[str]
    value: npt.NDArray[np.int64]
    flags: npt.NDArray[np.uint8]
    event_id: list[str] | None

    def __len__(self) -> int:
        return len(self.at_us)

    def original(self, row: int) -> bytes:
        """Return the bytes of a row's line, without its line end."""
        return self.lines.original(int(self.position[row]), int(self.end[row]))

    def select(self, mask: npt.NDArray[np.bool_]) -> RewardColumns:
        """Return the rows where `mask`, bool [n], is true."""
        return self if mask.all() else self.take(np.flatnonzero(mask))

    def take(self, rows: Rows) -> RewardColumns:
        """Return the rows of these numbers, in this order."""
        return RewardColumns(
            lines=self.lines,
            position=self.position[rows],
            end=self.end[rows],
            hi=self.hi[rows],
            lo=self.lo[rows],
            event=self.event[rows],
            at_us=self.at_us[rows],
            rank=self.rank[rows],
            kind=self.kind[rows],
            kinds=self.kinds,
            value=self.value[rows],
            flags=self.flags[rows],
            event_id=None if self.event_id is None else [self.event_id[row] for row in rows.tolist()],
        )


def to_blocks(
    decisions: DecisionColumns | None,
    rewards: RewardColumns | None,
    shards: int,
    source: str,
    keep_raw: npt.NDArray[np.bool_] | None = None,
) -> list[Block]:
    """Divide records into one Block per shard, with seq 0, no tick and no watermarks, in the order read.

    Args:
        decisions: Decisions of the file.
        rewards: Rewards of the file.
        shards: Number of shards.
        source: Name of the file.
        keep_raw: Decisions whose originals are kept, bool [decisions].
    """
    blocks = [empty_block(seq=0) for _ in range(shards)]
    if decisions is not None and len(decisions):
        for block, rows in zip(blocks, _rows_by_shard(decisions.lo, shards), strict=True):
            if len(rows):
                _put_decisions(block, decisions.take(rows), source, None if keep_raw is None else keep_raw[rows])
    if rewards is not None and len(rewards):
        for block, rows in zip(blocks, _rows_by_shard(rewards.lo, shards), strict=True):
            if len(rows):
                _put_rewards(block, rewards.take(rows), source)
    return blocks


def _rows_by_shard(lo: npt.NDArray[np.uint64], shards: int) -> list[Rows]:
    shard = shard_of(lo, shards)
    order = np.argsort(shard, kind="stable")
    return np.split(order, np.searchsorted(shard[order], np.arange(1, shards)))


def _put_decisions(block: Block, rows: DecisionColumns, source: str, keep_raw: npt.NDArray[np.bool_] | None) -> None:
    label, block.labels = _only_used(rows.label, rows.labels)
    features = rows.features if rows.features is not None and len(rows.features.values) else None
    if features is not None:
        schema, block.schemas = _only_used(features.schema, rows.schemas)
        features = Features(features.offsets, features.values, schema)
    kept = [] if keep_raw is None else np.flatnonzero(keep_raw).tolist()
    raw = {row: (source, int(rows.position[row]), rows.original(row)) for row in kept}
    block.decisions = Decisions(
        rows.hi, rows.lo, rows.at_us, rows.rank, label, rows.flags, rows.propensity, features, raw
    )


def _put_rewards(block: Block, rows: RewardColumns, source: str) -> None:
    kind, block.kinds = _only_used(rows.kind, rows.kinds)
    block.sources = [source]
    block.rewards = Rewards(
        hi=rows.hi,
        lo=rows.lo,
        event=rows.event,
        at_us=rows.at_us,
        rank=rows.rank,
        kind=kind,
        value=rows.value,
        flags=rows.flags,
        event_id=rows.event_id,
        source=np.zeros(len(rows), np.int32),
        position=rows.position,
        raw=[rows.original(row) for row in range(len(rows))],
    )


def _only_used(column: npt.NDArray[np.int32], table: list[T]) -> tuple[npt.NDArray[np.int32], list[T]]:
    """Drop the table's entries that the column does not use, and renumber the column. -1 stays."""
    used = np.zeros(len(table) + 1, np.bool_)
    used[column] = True  # -1 is the last
    numbers = np.cumsum(used, dtype=np.int32) - np.int32(1)
    numbers[-1] = -1
    return numbers[column], [entry for entry, is_used in zip(table, used.tolist(), strict=False) if is_used]


def _take_features(features: Features, rows: Rows) -> Features:
    sizes = np.diff(features.offsets)[rows]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    shift = np.repeat(features.offsets[rows] - offsets[:-1], sizes)
    return Features(offsets, features.values[np.arange(offsets[-1]) + shift], features.schema[rows])
