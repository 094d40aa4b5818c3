"""Steps of shards and reports of the source to snapshots, dead letters and checkpoints: the Publisher under Beam.

All messages have one key. The Publisher lives in the worker's memory as a cache; state holds what it was at some
message, and the messages since, appended. They are folded together when as many bytes were appended as the whole takes,
so that the cost of keeping state goes with what changes and not with what there is. A version in state and cache tells
whether the cache is the state's; if not (a new worker, a bundle tried again) it is made anew from the state.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.coders import BytesCoder
from apache_beam.pvalue import PCollection
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import GlobalWindow

from pipelines.reward_stream import encoding
from pipelines.reward_stream.destinations.factory import open_destination
from pipelines.reward_stream.faults import record_fault
from pipelines.reward_stream.messages import decode_message
from pipelines.reward_stream.metrics import RewardStreamMetrics
from pipelines.reward_stream.monitoring import exposition
from pipelines.reward_stream.monitoring.status import status_of
from pipelines.reward_stream.publishing.checkpoint import CheckpointStore, unpack
from pipelines.reward_stream.publishing.letter_files import write_letters
from pipelines.reward_stream.publishing.publisher import Pace, Publisher, PublisherProgress
from pipelines.reward_stream.publishing.state import PublisherState, decode_state, encode_state
from pipelines.reward_stream.sources.reports import SourceReport
from transforms.attribution.bandits_file import parse_bytes
from transforms.errors import RecbeamError

__all__ = ["Publish", "PublishConfig", "PublishFn", "insist"]

_LOGGER = logging.getLogger(__name__)

# Below this it does not matter how often the whole state is written.
_LEAST_LOG_BYTES = 1 << 18
# How long the end of a run waits for a store that refuses.
_INSIST_US = 60_000_000
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class PublishConfig:
    """All that a worker must know. bandits: the bandits file's bytes when the run began.

    checkpoint: the packed one from which the source goes on. fault_file, stop_file: where command and workers run on
    one machine, a file that takes a fault and one whose appearance ends the source; elsewhere a fault fails the
    pipeline.
    """

    run_id: str
    bandits: bytes
    snapshots: str
    dead_letters: str
    shards: int
    pace: Pace
    max_bad_fraction: float = 1.0
    state: str | None = None
    checkpoint: bytes | None = None
    fault_file: str | None = None
    stop_file: str | None = None
    metrics_port: int | None = None
    metrics_file: str | None = None


@dataclasses.dataclass
class Publish(beam.PTransform[PCollection[tuple[bytes, bytes]], PCollection[str]]):
    """Messages, keyed alike, to what was published, one sentence per version."""

    config: PublishConfig

    def expand(self, messages: PCollection[tuple[bytes, bytes]]) -> PCollection[str]:
        sentences: PCollection[str] = messages | "PublishTicks" >> beam.ParDo(PublishFn(self.config)).with_output_types(
            str
        )
        return sentences


def insist(
    publisher: Publisher, progress: PublisherProgress, clock: Callable[[], int], sleep: Callable[[float], None]
) -> Iterator[PublisherProgress]:
    """Try again what the end of a run could not write, for a minute; yields what each further try did."""
    deadline_us, pause_s = clock() + _INSIST_US, _FIRST_PAUSE_S
    while progress.failures and clock() < deadline_us:
        sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        progress = publisher.flush()
        yield progress


@dataclasses.dataclass(slots=True)
class _Mark:
    """What is read and written with every message. base_bytes: of the whole state; log_bytes: appended since."""

    version: int = 0
    base_bytes: int = 0
    log_bytes: int = 0


@dataclasses.dataclass(slots=True)
class _Cached:
    """A run's publisher in this process. said: failures that were logged. over: a fault has ended the run."""

    publisher: Publisher
    version: int
    said: set[str] = dataclasses.field(default_factory=set)
    over: bool = False


# Of the process, not of a DoFn: a worker may have several instances for one key.
_PUBLISHERS: dict[str, _Cached] = {}


class PublishFn(beam.DoFn):
    """The publisher of a run."""

    MARK = ReadModifyWriteStateSpec("mark", BytesCoder())
    BASE = ReadModifyWriteStateSpec("base", BytesCoder())
    LOG = BagStateSpec("log", BytesCoder())
    END = TimerSpec("end", TimeDomain.WATERMARK)

    def __init__(self, config: PublishConfig) -> None:
        self._config = config

    def setup(self) -> None:
        self._metrics = RewardStreamMetrics()
        self._status = status_of(self._config.run_id)
        if self._config.metrics_port is not None:
            exposition.serve(self._config.metrics_port, self._status, _now_us)

    def process(
        self,
        keyed: tuple[bytes, bytes],
        mark: Any = beam.DoFn.StateParam(MARK),
        base: Any = beam.DoFn.StateParam(BASE),
        log: Any = beam.DoFn.StateParam(LOG),
        end: Any = beam.DoFn.TimerParam(END),
    ) -> Iterator[str]:
        data = keyed[1]
        message = decode_message(data)
        if message.seq < 0:  # bounded input ends with the timer
            log.add(data)
            end.set(GlobalWindow().max_timestamp())
            return
        written = mark.read()
        noted = _Mark() if written is None else encoding.decode(written, _Mark)
        cached = self._open(noted, base, log)
        log.add(data)
        noted.version += 1
        noted.log_bytes += len(data)
        cached.version = noted.version
        if not cached.over:
            offer = cached.publisher.offer_report if isinstance(message, SourceReport) else cached.publisher.offer
            yield from self._drive(cached, functools.partial(offer, message))  # type: ignore[arg-type]
        if noted.log_bytes >= max(_LEAST_LOG_BYTES, noted.base_bytes):
            whole = encode_state(cached.publisher.state())
            base.write(whole)
            log.clear()
            noted.base_bytes, noted.log_bytes = len(whole), 0
        mark.write(encoding.encode(noted))

    @on_timer(END)
    def end(self, log: Any = beam.DoFn.StateParam(LOG)) -> Iterator[str]:
        """The bounded input is read: publish once."""
        messages = [decode_message(data) for data in log.read()]
        log.clear()
        reports = [each for each in messages if isinstance(each, SourceReport)]
        steps = [each for each in messages if not isinstance(each, SourceReport)]
        publisher = self._publisher(None)
        yield from self._drive(
            _Cached(publisher, 0), lambda: publisher.finish(steps, reports, self._config.max_bad_fraction)
        )

    def _drive(self, cached: _Cached, call: Callable[[], PublisherProgress]) -> Iterator[str]:
        """Let the publisher do something, and tell what it did; the project's own errors end the run."""
        try:
            progress = call()
            yield from self._tell(cached, progress)
            if progress.ended:
                for again in insist(cached.publisher, progress, _now_us, time.sleep):
                    yield from self._tell(cached, again)
                    progress = again
                if progress.failures:
                    raise RecbeamError(f"{progress.failures[0]}; the run has ended, run the same command again")
        except RecbeamError as fault:
            cached.over = True
            if self._config.fault_file is None:
                raise
            record_fault(self._config.fault_file, fault)
            if self._config.stop_file is not None:
                Path(self._config.stop_file).touch()

    def _tell(self, cached: _Cached, progress: PublisherProgress) -> Iterator[str]:
        """Count, log and hand on what was done."""
        metrics, now_us = self._metrics, _now_us()
        metrics.read(progress.records_read, progress.lines_bad)
        metrics.outcomes(progress.outcomes)
        metrics.dead_letters_written.inc(progress.dead_letters)
        metrics.snapshots_published.inc(len(progress.versions))
        metrics.publish_failures.inc(len(progress.failures))
        if progress.lag_us is not None:
            metrics.event_time_lag_ms.set(progress.lag_us // 1000)
        if progress.open_decisions is not None and progress.open_rewards is not None:
            metrics.open_decisions.set(progress.open_decisions)
            metrics.open_rewards.set(progress.open_rewards)
        for failure in progress.failures:
            if failure not in cached.said:
                cached.said.add(failure)
                _LOGGER.warning("%s", failure)
        if progress.versions and not progress.failures and cached.said:
            cached.said.clear()
            _LOGGER.warning("published again")
        self._status.add(progress)
        if self._config.metrics_file is not None and (progress.versions or progress.failures):
            with contextlib.suppress(OSError):  # the directory was there when the run began; metrics stop no stream
                exposition.write(self._config.metrics_file, self._status, now_us)
        for written in progress.versions:
            yield f"{written.content.bandit_id}: version {written.version}"

    def _open(self, noted: _Mark, base: Any, log: Any) -> _Cached:
        """The publisher, made anew where the cache is not the state's."""
        cached = _PUBLISHERS.get(self._config.run_id)
        if cached is not None and cached.version == noted.version:
            return cached
        state: PublisherState | None = None
        if noted.version:
            self._metrics.state_rebuilds.inc()
            written = base.read()
            if written is not None:
                state = decode_state(written)
            publisher = self._publisher(state)
            for data in log.read():
                publisher.recall(decode_message(data))
        else:
            publisher = self._publisher(None)
        cached = _PUBLISHERS[self._config.run_id] = _Cached(publisher, noted.version)
        return cached

    def _publisher(self, state: PublisherState | None) -> Publisher:
        config = self._config
        packed = config.checkpoint if state is None else None
        return Publisher(
            open_destination(config.snapshots),
            parse_bytes((state.rules if state else None) or config.bandits, "bandits file"),
            _now_us,
            config.pace,
            config.shards,
            functools.partial(write_letters, config.dead_letters, config.run_id),
            store=CheckpointStore(config.state) if config.state else None,
            checkpoint=unpack(packed) if packed else None,
            state=state,
        )


def _now_us() -> int:
    return time.time_ns() // 1000
