"""What a run reads and by which times, as a worker gets it: all settings of the reader."""

from __future__ import annotations

import dataclasses

from pipelines.reward_stream.sources.reports import SourceState

__all__ = ["SOURCES", "SequencerConfig"]

SOURCES = ("decisions", "rewards")


@dataclasses.dataclass(frozen=True, slots=True)
class SequencerConfig:
    """Microseconds, bytes.

    decisions, rewards: globs. bandits: the bandits file; bandits_data: its bytes when the run was planned. shards: of
    decision ids. max_disorder_us: by how much the watermark trails the newest event. idle_after_us: after which silence
    a source no longer holds the maturing watermark; max_hold_us: the holding one. poll_interval_us: how often is looked
    for input, bandits_poll_us: for another bandits file. stop_when_idle_us: end after this silence, None never.
    file_horizon_us: how long the name of a vanished file is kept. tick_us: how often at most shards answer live;
    tick_bytes: and after how much of a backlog. chunk_bytes: what is read at once. range_bytes: the same in a bounded
    run. stop_file: a run ends, with its state saved, when this file appears. state_interval_us: how often a report has
    what a checkpoint needs, None never. started: where a checkpoint left off.
    """

    decisions: str
    rewards: str
    bandits: str
    bandits_data: bytes
    shards: int = 4
    max_disorder_us: int = 5_000_000
    idle_after_us: int = 300_000_000
    max_hold_us: int = 86_400_000_000
    poll_interval_us: int = 200_000
    bandits_poll_us: int = 30_000_000
    stop_when_idle_us: int | None = None
    file_horizon_us: int = 86_400_000_000
    tick_us: int = 1_000_000
    tick_bytes: int = 16 << 20
    chunk_bytes: int = 2 << 20
    range_bytes: int = 12 << 20
    stop_file: str | None = None
    state_interval_us: int | None = 10_000_000
    started: SourceState | None = None

    def pattern(self, source: str) -> str:
        """The glob of a source."""
        return {"decisions": self.decisions, "rewards": self.rewards}[source]
