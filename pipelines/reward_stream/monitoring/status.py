"""How is this run doing? What the publisher's calls add up to, for the progress line and for Prometheus.

One per run and process: workers that run in the command's own process share it with the command.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter

from pipelines.reward_stream.publishing.publisher import PublisherProgress
from pipelines.reward_stream.publishing.versions import Written

__all__ = ["Status", "status_of"]

_BY_RUN: dict[str, Status] = {}
_LOCK = threading.Lock()


@dataclasses.dataclass(slots=True)
class Status:
    """Since the run began. outcomes: increases alone, as a counter must; versions: the last of each bandit.

    snapshots: how many were published, by bandit. The rest is as in PublisherProgress, of the last call that knew it.
    """

    records_read: int = 0
    records_malformed: int = 0
    dead_letters: int = 0
    publish_failures: int = 0
    checkpoints: int = 0
    ticks: int = 0
    outcomes: Counter[str] = dataclasses.field(default_factory=Counter)
    snapshots: Counter[str] = dataclasses.field(default_factory=Counter)
    versions: dict[str, Written] = dataclasses.field(default_factory=dict)
    held: list[str] = dataclasses.field(default_factory=list)
    watermark_us: int | None = None
    pending: int | None = None
    open_decisions: int | None = None
    open_rewards: int | None = None
    late_files: int = 0
    files_unreadable: int = 0

    def add(self, progress: PublisherProgress) -> None:
        """Take what a call of the publisher did."""
        self.records_read += progress.records_read
        self.records_malformed += progress.lines_bad
        self.dead_letters += progress.dead_letters
        self.publish_failures += len(progress.failures)
        self.checkpoints += progress.checkpoints
        self.ticks += progress.ticks
        self.outcomes.update({name: count for name, count in progress.outcomes.items() if count > 0})
        self.snapshots.update(written.content.bandit_id for written in progress.versions)
        self.versions |= {written.content.bandit_id: written for written in progress.versions}
        for name in ("watermark_us", "pending", "open_decisions", "open_rewards", "late_files", "files_unreadable"):
            if (value := getattr(progress, name)) is not None:
                setattr(self, name, value)
        if progress.ticks or progress.ended:
            self.held = progress.held


def status_of(run_id: str) -> Status:
    """The status of a run in this process, begun if there is none."""
    with _LOCK:
        return _BY_RUN.setdefault(run_id, Status())
