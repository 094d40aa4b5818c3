"""Add up the publisher's calls into a run's status, for the progress line and for Prometheus.

There is one status per run and process. Workers in the command's own process share it with the command.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Mapping

from pipelines.reward_stream.publishing.publisher import PublisherProgress
from pipelines.reward_stream.publishing.versions import Written

__all__ = ["Status", "status_of"]

_LATEST = (
    "watermark_us", "pending", "open_decisions", "open_rewards", "late_files", "files_unreadable", "files_reread",
    "heard_us",
)  # fmt: skip
_BY_RUN: dict[str, Status] = {}
_LOCK = threading.Lock()


@dataclasses.dataclass(slots=True)
class Status:
    """Hold what has happened since the run began.

    Counts are sums over all calls of the publisher. `outcomes` counts increases only, as a counter must. `versions`
    holds the last version of each bandit, `snapshots` the number of published snapshots by bandit. The other fields are
    as in PublisherProgress, from the last call that set them.
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
    files_reread: int = 0
    heard_us: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def add(self, progress: PublisherProgress) -> None:
        """Add the progress of a publisher's call."""
        self.records_read += progress.records_read
        self.records_malformed += progress.lines_bad
        self.dead_letters += progress.dead_letters
        self.publish_failures += len(progress.failures)
        self.checkpoints += progress.checkpoints
        self.ticks += progress.ticks
        self.outcomes.update({name: count for name, count in progress.outcomes.items() if count > 0})
        self.snapshots.update(written.content.bandit_id for written in progress.versions)
        self.versions |= {written.content.bandit_id: written for written in progress.versions}
        for name in _LATEST:
            if (value := getattr(progress, name)) is not None:
                setattr(self, name, value)
        if progress.ticks or progress.ended:
            self.held = progress.held


def status_of(run_id: str) -> Status:
    """Return the status of a run in this process. Create it if there is none."""
    with _LOCK:
        return _BY_RUN.setdefault(run_id, Status())
