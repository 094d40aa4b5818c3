"""Run the Publisher under Beam: turn results and reports into snapshots, dead letters and checkpoints.

All messages have one key. The Publisher in the worker's memory is a cache. State holds an encoded Publisher and the
messages that came after it, appended. The messages are folded into the encoded Publisher once they are as large as it.
So the cost of keeping state depends on the changes and not on the size of the state.

State and cache both hold a version. If the versions differ (a new worker, or a bundle that is tried again), the
Publisher is rebuilt from state.
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
from pipelines.reward_stream.metrics import RewardStreamMetrics
from pipelines.reward_stream.monitoring import prometheus
from pipelines.reward_stream.monitoring.faults import record_fault
from pipelines.reward_stream.monitoring.status import status_of
from pipelines.reward_stream.publishing.checkpoint import CheckpointStore, unpack
from pipelines.reward_stream.publishing.letter_files import write_letters
from pipelines.reward_stream.publishing.messages import decode_message
from pipelines.reward_stream.publishing.publisher import Publisher, PublisherProgress
from pipelines.reward_stream.publishing.state import PublisherState, decode_state, encode_state
from pipelines.reward_stream.publishing.versions import Pace
from pipelines.reward_stream.sources.reports import SourceReport
from serving_client.bandits_file import parse_bytes
from serving_client.contracts.times import wall_clock_us
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
    """Hold the settings that a worker needs.

    Args:
        snapshots: Destination of the snapshots.
        dead_letters: Folder of the dead letters.
        shards: Number of shards.
        pace: How often things are written.
        run_id: Name of the run.
        bandits: Bytes of the bandits file when the run began.
        max_bad_fraction: Fraction of malformed lines above which a bounded run fails.
        state: Folder of the checkpoints. None without checkpoints.
        checkpoint: Packed checkpoint from which the source continues. None if there is none.
        publisher: Id of the stream. None in a bounded run. The engine's state keeps the id that it began with.
        take_over: Whether to publish even if another stream is publishing.
        fault_file: File that receives an error, if command and workers run on one machine. Without it an error fails
            the pipeline.
        stop_file: File whose appearance ends the source, if command and workers run on one machine.
        metrics_port: Port of the Prometheus metrics. None without one.
        metrics_file: File of the Prometheus metrics. None without one.
    """

    snapshots: str
    dead_letters: str
    shards: int
    pace: Pace
    run_id: str = ""
    bandits: bytes = b""
    max_bad_fraction: float = 1.0
    state: str | None = None
    checkpoint: bytes | None = None
    publisher: str | None = None
    take_over: bool = False
    fault_file: str | None = None
    stop_file: str | None = None
    metrics_port: int | None = None
    metrics_file: str | None = None


@dataclasses.dataclass
class Publish(beam.PTransform[PCollection[tuple[bytes, bytes]], PCollection[str]]):
    """Turn messages, all under one key, into one sentence per published version."""

    config: PublishConfig

    def expand(self, messages: PCollection[tuple[bytes, bytes]]) -> PCollection[str]:
        """Apply the publisher to keyed messages."""
        sentences: PCollection[str] = messages | "PublishTicks" >> beam.ParDo(PublishFn(self.config)).with_output_types(
            str
        )
        return sentences


def insist(
    publisher: Publisher, progress: PublisherProgress, clock: Callable[[], int], sleep: Callable[[float], None]
) -> Iterator[PublisherProgress]:
    """Retry, for a minute, the writes that failed at the end of a run.

    Args:
        publisher: The publisher.
        progress: Progress of the last call, with its failures.
        clock: Returns microseconds since 1970.
        sleep: Waits for a number of seconds.

    Yields:
        The progress of each further attempt.
    """
    deadline_us, pause_s = clock() + _INSIST_US, _FIRST_PAUSE_S
    while progress.failures and clock() < deadline_us:
        sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        progress = publisher.flush()
        yield progress


@dataclasses.dataclass(slots=True)
class _Mark:
    """Hold the small record that every message reads and writes.

    Args:
        version: How often the record was written.
        base_bytes: Size of the whole encoded state.
        log_bytes: Size of the messages appended since.
        publisher: Id of the stream.
    """

    version: int = 0
    base_bytes: int = 0
    log_bytes: int = 0
    publisher: str | None = None


@dataclasses.dataclass(slots=True)
class _Cached:
    """Hold a run's publisher in this process.

    `said` holds the failures that were logged. `over` is true once an error has ended the run.
    """

    publisher: Publisher
    version: int
    said: set[str] = dataclasses.field(default_factory=set)
    over: bool = False


# Of the process, not of a DoFn: a worker may have several instances for one key.
_PUBLISHERS: dict[str, _Cached] = {}


class PublishFn(beam.DoFn):
    """Drive the publisher of a run."""

    MARK = ReadModifyWriteStateSpec("mark", BytesCoder())
    BASE = ReadModifyWriteStateSpec("base", BytesCoder())
    LOG = BagStateSpec("log", BytesCoder())
    END = TimerSpec("end", TimeDomain.WATERMARK)

    def __init__(self, config: PublishConfig) -> None:
        self._config = config

    def setup(self) -> None:
        """Set up the metrics and serve them if a port is set."""
        self._metrics = RewardStreamMetrics()
        self._status = status_of(self._config.run_id)
        if self._config.metrics_port is not None:
            prometheus.serve(self._config.metrics_port, self._status, wall_clock_us)

    def process(
        self,
        keyed: tuple[bytes, bytes],
        mark: Any = beam.DoFn.StateParam(MARK),
        base: Any = beam.DoFn.StateParam(BASE),
        log: Any = beam.DoFn.StateParam(LOG),
        end: Any = beam.DoFn.TimerParam(END),
    ) -> Iterator[str]:
        """Hand a message to the publisher and yield a sentence per published version."""
        data = keyed[1]
        message = decode_message(data)
        if message.seq < 0:  # bounded input ends with the timer
            log.add(data)
            end.set(GlobalWindow().max_timestamp())
            return
        written = mark.read()
        noted = _Mark() if written is None else encoding.decode(written, _Mark)
        noted.publisher = noted.publisher or self._config.publisher
        cached = self._open(noted, base, log)
        log.add(data)
        noted.version += 1
        noted.log_bytes += len(data)
        cached.version = noted.version
        if not cached.over:
            yield from self._drive(cached, functools.partial(cached.publisher.offer, message))
        if noted.log_bytes >= max(_LEAST_LOG_BYTES, noted.base_bytes):
            whole = encode_state(cached.publisher.state())
            base.write(whole)
            log.clear()
            noted.base_bytes, noted.log_bytes = len(whole), 0
        mark.write(encoding.encode(noted))

    @on_timer(END)
    def end(self, log: Any = beam.DoFn.StateParam(LOG)) -> Iterator[str]:
        """Publish once after the bounded input has been read."""
        messages = [decode_message(data) for data in log.read()]
        log.clear()
        reports = [each for each in messages if isinstance(each, SourceReport)]
        results = [each for each in messages if not isinstance(each, SourceReport)]
        publisher = self._publisher(None, None)
        yield from self._drive(
            _Cached(publisher, 0), lambda: publisher.finish(results, reports, self._config.max_bad_fraction)
        )

    def _drive(self, cached: _Cached, call: Callable[[], PublisherProgress]) -> Iterator[str]:
        """Call the publisher and report its progress. The project's own errors end the run."""
        try:
            progress = call()
            yield from self._tell(cached, progress)
            if progress.ended:
                for again in insist(cached.publisher, progress, wall_clock_us, time.sleep):
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
        """Count and log the progress, and yield a sentence per published version."""
        metrics, now_us = self._metrics, wall_clock_us()
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
                prometheus.write(self._config.metrics_file, self._status, now_us)
        for written in progress.versions:
            yield f"{written.content.bandit_id}: version {written.version}"

    def _open(self, noted: _Mark, base: Any, log: Any) -> _Cached:
        """Return the cached publisher. Rebuild it if its version differs from the state's."""
        cached = _PUBLISHERS.get(self._config.run_id)
        if cached is not None and cached.version == noted.version:
            return cached
        state: PublisherState | None = None
        if noted.version:
            self._metrics.state_rebuilds.inc()
            written = base.read()
            if written is not None:
                state = decode_state(written)
        publisher = self._publisher(state, noted.publisher)
        for data in log.read() if noted.version else ():
            publisher.recall(decode_message(data))
        cached = _PUBLISHERS[self._config.run_id] = _Cached(publisher, noted.version)
        return cached

    def _publisher(self, state: PublisherState | None, publisher: str | None) -> Publisher:
        config = self._config
        packed = config.checkpoint if state is None else None
        return Publisher(
            open_destination(config.snapshots),
            parse_bytes((state.rules if state else None) or config.bandits, "bandits file"),
            wall_clock_us,
            config.pace,
            config.shards,
            functools.partial(write_letters, config.dead_letters, config.run_id),
            store=CheckpointStore(config.state) if config.state else None,
            checkpoint=unpack(packed) if packed else None,
            state=state,
            publisher=publisher,
            take_over=config.take_over,
        )
