"""Settings of the reader: the inputs of a run and its times, as a worker receives them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pipelines.reward_stream.sources.reports import SourceState
from transforms.attribution.parsing.file_ranges import RANGE_BYTES

__all__ = ["SOURCES", "SequencerConfig"]

SOURCES = ("decisions", "rewards")


def _five_minutes() -> dict[str, int]:
    return dict.fromkeys(SOURCES, 300_000_000)


@dataclasses.dataclass(frozen=True, slots=True)
class SequencerConfig:
    """Hold the settings of the reader.

    Args:
        decisions: Glob of the decision files.
        rewards: Glob of the reward files.
        bandits: Path of the bandits file.
        bandits_data: Bytes of the bandits file when the run was planned.
        shards: Number of shards of decision ids.
        max_disorder_us: How far the watermark trails the newest event, microseconds.
        idle_after_us: Silence after which a source no longer holds the maturing watermark, by source, microseconds.
        max_hold_us: Silence after which a source no longer holds the holding watermark, microseconds.
        poll_interval_us: Time between two looks for new input, microseconds.
        bandits_poll_us: Time between two looks for a changed bandits file, microseconds.
        stop_when_idle_us: Silence after which the run ends, microseconds. None never ends it.
        file_horizon_us: How long the name of a vanished file is kept, microseconds.
        tick_us: Least time between two ticks of a live run, microseconds.
        tick_bytes: Bytes of a backlog after which a tick is due early.
        chunk_bytes: Bytes read at once.
        range_bytes: Bytes read at once in a bounded run.
        stop_file: The run saves its state and ends when this file appears.
        state_interval_us: Time between two reports that carry a checkpoint's state, microseconds. None sends no state.
        started: State of the checkpoint that the run starts from.
    """

    decisions: str
    rewards: str
    bandits: str
    bandits_data: bytes = b""
    shards: int = 4
    max_disorder_us: int = 5_000_000
    idle_after_us: Mapping[str, int] = dataclasses.field(default_factory=_five_minutes)
    max_hold_us: int = 86_400_000_000
    poll_interval_us: int = 200_000
    bandits_poll_us: int = 30_000_000
    stop_when_idle_us: int | None = None
    file_horizon_us: int = 86_400_000_000
    tick_us: int = 1_000_000
    tick_bytes: int = 16 << 20
    chunk_bytes: int = 2 << 20
    range_bytes: int = RANGE_BYTES
    stop_file: str | None = None
    state_interval_us: int | None = 10_000_000
    started: SourceState | None = None

    def pattern(self, source: str) -> str:
        """Return the glob of a source.

        Args:
            source: `decisions` or `rewards`.

        Returns:
            The glob.
        """
        return {"decisions": self.decisions, "rewards": self.rewards}[source]
