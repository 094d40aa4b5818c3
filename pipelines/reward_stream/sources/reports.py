"""What the source tells the publisher at a tick, and what it needs to go on after a restart."""

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
    """Where a partition (a file, a broker's partition) is read from again, and how far it was read.

    start: the lowest position that can hold an event at or after the cut less the rules' reach; equal to `end`
    where it is wholly covered. end: how far it was read. late: positions from start to end, ascending, of records that
    were late when they were read: they are late again, whatever the watermark. head: what recognises the file's
    beginning. listed_at_us: when a file was last listed (wall clock). all_late: every record of it so far was late.
    """

    start: int
    end: int
    late: tuple[int, ...] = ()
    head: str = ""
    listed_at_us: int = 0
    all_late: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class SourceState:
    """All that a start needs besides totals.

    cut_us: the cut C of the checkpoint. holding_us, maturing_us: the watermarks at it. newest_us: per source
    ("decisions", "rewards") the largest accepted event time. idle: sources that were idle. partitions: by source, by
    name. counters: outcomes that the source itself gave to records that are not read again (those of `late` records
    before the cut, of malformed and future ones before `start`). late_files: names all of whose records were late, of
    those that are forgotten; the others say so themselves.
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
        """As a JSON value that `from_json` reads."""
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
        """The state that `to_json` described."""
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
    """What the source did since its last report, and where it stands at this tick.

    counters: outcomes that the source itself gave (malformed, future, late). records_read: lines that are not blank.
    lines_bad: malformed ones. rules: the bandits file's bytes where it changed. newest_us: the largest event time
    accepted. state: for a checkpoint at this tick, None where none is due: it names every file.
    after: the seq of the report before. final, stop: as in Block. late_files: names all of whose records
    were late, so far. files_reread: times since the start that a file was read again as new. files_unreadable: files
    that are set aside now, because they cannot be read.
    """

    seq: int
    maturing_us: int
    newest_us: int
    cut_us: int
    state: SourceState | None = None
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
