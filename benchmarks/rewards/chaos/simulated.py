"""The stream without a runner, on a clock of its own: reader, shards and publisher, killed between any two messages.

What Beam does here is a loop; what is lost by a kill is everything in memory. Hundreds of kills take seconds, and the
same seed kills at the same moments.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.rewards.chaos.feeder import deliver
from benchmarks.rewards.chaos.world import Delivery
from pipelines.reward_stream.destinations.directory import DirectoryDestination
from pipelines.reward_stream.publishing import checkpoint as checkpoints
from pipelines.reward_stream.publishing.letter_files import write_letters
from pipelines.reward_stream.publishing.publisher import Publisher
from pipelines.reward_stream.publishing.versions import Pace
from pipelines.reward_stream.sources.config import SOURCES, SequencerConfig
from pipelines.reward_stream.sources.progress import NumberedBlocks
from pipelines.reward_stream.sources.reports import SourceReport
from pipelines.reward_stream.sources.sequencer import Sequencer
from serving_client.bandits_file import parse_bytes
from transforms.attribution.block import decode
from transforms.attribution.joining.delta import FoldResult
from transforms.attribution.joining.fold import Shard, advance, finish, fold
from transforms.attribution.rules import Rules

__all__ = ["Simulation", "kill_with"]

_STEP_US = 200_000
_BEGAN_US = 1_795_500_000_000_000  # of the clock that the reader sees; nothing depends on it
_SHARDS = 2


@dataclasses.dataclass
class Simulation:
    """Where it all happens. kill: asked before every message to the publisher whether the run ends here.

    kills, starts: how many there were. now_us: the clock.
    """

    delivered: pathlib.Path
    out: pathlib.Path
    kill: Callable[[], bool]
    kills: int = 0
    now_us: int = _BEGAN_US
    starts: int = 0

    def run(self, plan: list[Delivery]) -> None:
        """Deliver all of it, with the runs working as time goes on; then let one run end undisturbed."""
        run: _Run | None = None
        for delivery in plan:
            until_us = _BEGAN_US + round(delivery.at_s * 1e6)
            while self.now_us < until_us:
                self.now_us = min(until_us, self.now_us + _STEP_US)
                run = self._work(run)
            deliver(self.delivered, delivery)
            os.utime(self.delivered / delivery.name, ns=(0, self.now_us * 1000))
            self.now_us += 1
        self.kill = lambda: False
        last = self._start(ending=True)
        while not last.ended:
            last.work()
            self.now_us += _STEP_US

    def _work(self, run: _Run | None) -> _Run | None:
        """What a run does at this moment, started if there is none; None where it was killed."""
        try:
            run = run or self._start(ending=False)
            run.work()
        except _Killed:
            self.kills += 1
            return None
        return run

    def _start(self, *, ending: bool) -> _Run:
        self.starts += 1
        return _Run(self, self.starts, ending=ending)


class _Killed(Exception):
    """Nothing of the run is left."""


class _Run:
    def __init__(self, simulation: Simulation, number: int, *, ending: bool) -> None:
        self.ended = False
        self._simulation = simulation
        bandits = (simulation.delivered / "bandits.yaml").read_bytes()
        parsed = parse_bytes(bandits, "bandits.yaml")
        state = str(simulation.out / "state")
        started = checkpoints.load(state, parsed)
        clock = self._clock
        config = SequencerConfig(
            decisions=f"{simulation.delivered}/decisions/*.jsonl",
            rewards=f"{simulation.delivered}/rewards/*.jsonl",
            bandits=f"{simulation.delivered}/bandits.yaml",
            bandits_data=bandits,
            shards=_SHARDS,
            idle_after_us=dict.fromkeys(SOURCES, 8_000_000),
            stop_when_idle_us=3_000_000 if ending else None,
            state_interval_us=2_000_000,
            started=started.sources if started else None,
        )
        self._reader = Sequencer(config, clock)
        self._rules = Rules(parsed)
        self._shards = [Shard.empty(self._rules) for _ in range(_SHARDS)]
        self._publisher = Publisher(
            DirectoryDestination(str(simulation.out / "snapshots")),
            parsed,
            clock,
            Pace(publish_interval_us=3_000_000),
            _SHARDS,
            functools.partial(write_letters, str(simulation.out / "dead_letters"), f"run-{number:05d}"),
            store=checkpoints.CheckpointStore(state),
            checkpoint=started,
        )

    def work(self) -> None:
        """Everything there is to do now. Raises _Killed in the middle of it."""
        while not self.ended and (batch := self._reader.poll()) is not None:
            for message in self._messages(batch):
                if self._simulation.kill():
                    raise _Killed
                publisher = self._publisher
                progress = publisher.offer(message)
                assert not progress.failures, progress.failures
                self.ended |= progress.ended

    def _messages(self, batch: NumberedBlocks) -> Iterator[FoldResult | SourceReport]:
        """As the shards answer a batch, and its report."""
        for number, data in enumerate(batch.blocks):
            block, shard = decode(data), self._shards[number]
            fold(shard, block, self._rules)
            if block.tick:
                step = advance(shard, block.holding_us, block.maturing_us, self._rules)
                yield dataclasses.replace(step, shard=number, seq=block.seq, stop=block.stop)
            if block.final:
                yield dataclasses.replace(finish(shard, self._rules), shard=number, seq=block.seq)
        if batch.report is not None:
            yield batch.report

    def _clock(self) -> int:
        return self._simulation.now_us


def kill_with(chance: float, rng: np.random.Generator) -> Callable[[], bool]:
    """At any message with this chance."""
    return lambda: bool(rng.random() < chance)
