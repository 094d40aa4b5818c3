"""Define the source's report to the publisher at a tick, and the state that a restart needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from serving_client.contracts.times import BEFORE_ALL_US
from transforms.dead_letters import DeadLetter

__all__ = ["PartitionState", "SourceReport", "SourceState"]

Outcomes = Mapping[tuple[str, int, str], int]
"""Records by (bandit, policy_epoch, outcome); the bandit is "" where the record names none."""


class PartitionState(NamedTuple):
    """Hold how far a partition (a file, or a broker's partition) was read, and where a restart reads it from.

    Args:
        start: Lowest position that can hold an event at or after the cut less the rules' reach. Equal to `end` if the
            partition is fully covered.
        end: Position up to which the partition was read.
        late: Positions from start to end, ascending, of records that were late. They stay late whatever the watermark
            is.
        head: Text that recognises the file's beginning.
        listed_at_us: When the file was last listed, microseconds of the wall clock.
        all_late: Whether every record of the partition so far was late.
    """

    start: int
    end: int
    late: tuple[int, ...] = ()
    head: str = ""
    listed_at_us: int = 0
    all_late: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class SourceState:
    """Hold everything that a restart needs apart from the totals.

    Args:
        cut_us: Cut of the checkpoint, microseconds.
        holding_us: Holding watermark at the checkpoint, microseconds.
        maturing_us: Maturing watermark at the checkpoint, microseconds.
        newest_us: Greatest accepted event time per source, microseconds.
        idle: Sources that were idle.
        partitions: Partitions by source and name.
        counters: Outcomes that the source gave to records that are not read again. These are `late` records before the
            cut, and malformed and future records before `start`.
        late_files: Forgotten files whose records were all late. `PartitionState.all_late` marks the other files.
    """

    cut_us: int = BEFORE_ALL_US
    holding_us: int = BEFORE_ALL_US
    maturing_us: int = BEFORE_ALL_US
    newest_us: Mapping[str, int] = dataclasses.field(default_factory=dict)
    idle: tuple[str, ...] = ()
    partitions: Mapping[str, Mapping[str, PartitionState]] = dataclasses.field(default_factory=dict)
    counters: Outcomes = dataclasses.field(default_factory=dict)
    late_files: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the state as a JSON value for `from_json`."""
        fields: dict[str, Any] = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("partitions", "counters")
        }
        fields["partitions"] = {
            source: {name: list(state) for name, state in states.items()} for source, states in self.partitions.items()
        }
        fields["counters"] = [[*key, n] for key, n in sorted(self.counters.items())]
        return fields

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SourceState:
        """Return the state that `to_json` described."""
        fields = dict(value)
        fields["idle"] = tuple(fields["idle"])
        fields["partitions"] = {
            source: {
                name: PartitionState(start, end, tuple(late), *rest)
                for name, (start, end, late, *rest) in states.items()
            }
            for source, states in fields["partitions"].items()
        }
        fields["counters"] = {(bandit_id, epoch, outcome): n for bandit_id, epoch, outcome, n in fields["counters"]}
        return cls(**fields)


@dataclasses.dataclass(frozen=True, slots=True)
class SourceReport:
    """Hold what the source did since its last report, and its position at this tick.

    Args:
        seq: Number of the piece of the input that it goes with.
        maturing_us: Maturing watermark, microseconds.
        newest_us: Greatest accepted event time, microseconds.
        cut_us: Cut of a checkpoint at this tick, microseconds.
        state: State for a checkpoint. None if none is due, since the state names every file.
        heard_us: Clock per source when it last delivered, or when the run began, microseconds. Empty in a bounded run.
        after: `seq` of the report before.
        counters: Outcomes that the source gave (malformed, future, late).
        records_read: Number of lines that are not blank.
        lines_bad: Number of malformed lines.
        rules: Bytes of the bandits file if it changed.
        dead_letters: Dead letters since the last report.
        final: As in Block.
        stop: As in Block.
        late_files: Files whose records were all late so far.
        files_reread: How often since the start a file was read again as new.
        files_unreadable: Files that are set aside now because they cannot be read.
    """

    seq: int
    maturing_us: int
    newest_us: int
    cut_us: int
    state: SourceState | None = None
    heard_us: Mapping[str, int] = dataclasses.field(default_factory=dict)
    after: int = -1
    counters: Outcomes = dataclasses.field(default_factory=dict)
    records_read: int = 0
    lines_bad: int = 0
    rules: bytes | None = None
    dead_letters: tuple[DeadLetter, ...] = ()
    final: bool = False
    stop: bool = False
    late_files: int = 0
    files_reread: int = 0
    files_unreadable: int = 0
