"""Carry out one run of reward_stream, from checked options to its end."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import apache_beam as beam

from pipelines.reward_stream.destinations.factory import open_destination
from pipelines.reward_stream.monitoring import prometheus
from pipelines.reward_stream.monitoring.faults import fault_in, recorded_fault
from pipelines.reward_stream.monitoring.status import Status, status_of
from pipelines.reward_stream.monitoring.terminal import watching
from pipelines.reward_stream.options import StreamSettings
from pipelines.reward_stream.pipeline import build
from pipelines.reward_stream.publishing import checkpoint as checkpoints
from pipelines.reward_stream.publishing.ownership import kept_publisher
from pipelines.reward_stream.sources.logs import files_of
from pipelines.reward_stream.steps.publish import PublishConfig
from pipelines.reward_stream.totals.counters import STREAM
from serving_client.contracts.bandits import BanditsError, check_disorder
from transforms.attribution import bandits_file
from transforms.errors import BadInput, BadUsage, RecbeamError, Refused
from transforms.runs.run_record import new_run_id

__all__ = ["PipelineFactory", "StreamResult", "run"]

_LOGGER = logging.getLogger(__name__)

PipelineFactory = Callable[[str], beam.Pipeline]
"""Makes an empty pipeline. It may write what starts the runner to a folder, which lasts as long as the run."""

_STOPS = (signal.SIGTERM, signal.SIGINT)


@dataclasses.dataclass(frozen=True)
class StreamResult:
    """Hold what a run did.

    Args:
        status: Counts and versions. Empty where workers run on other machines.
        stopped: Whether a signal ended the run and left windows open.
    """

    status: Status
    stopped: bool


def run(settings: StreamSettings, new_pipeline: PipelineFactory, clock: Callable[[], int]) -> StreamResult:
    """Carry out a run.

    Args:
        settings: The checked command line.
        new_pipeline: Makes the pipeline.
        clock: Returns microseconds since 1970.

    Returns:
        What the run did.

    Raises:
        BadUsage: The settings contradict the bandits file or the destination. Nothing was written.
        BadInput: The input cannot be used.
        Refused: Another run publishes to the same place.
    """
    reading, publishing, streaming = settings.reading, settings.publishing, settings.streaming
    data, bandits = bandits_file.read(reading.bandits)
    try:
        check_disorder(bandits, reading.max_disorder_us)
    except BanditsError as error:
        raise BadUsage(f"{reading.bandits}: {error}") from error
    if not streaming:
        files_of(reading.decisions, "--decisions")
        files_of(reading.rewards, "--rewards")
        _refuse_a_streams_place(publishing.snapshots, [*bandits.bandits, STREAM])
    run_id = new_run_id(clock)
    status = status_of(run_id)
    with contextlib.ExitStack() as held:
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="reward-stream-"))
        started = None
        if publishing.state:
            held.enter_context(checkpoints.hold(publishing.state))
            started = checkpoints.load(publishing.state, bandits)
            for note in started.notes if started else ():
                _LOGGER.warning("%s", note)
        _open_metrics(publishing, status, clock, serve=settings.workers_here)
        stop_file = os.path.join(folder, "stop") if settings.workers_here else None
        reading = dataclasses.replace(
            reading, bandits_data=data, started=started.sources if started else None, stop_file=stop_file
        )
        publishing = dataclasses.replace(
            publishing,
            run_id=run_id,
            bandits=data,
            checkpoint=checkpoints.pack(started) if started else None,
            publisher=_publisher(publishing, run_id) if streaming else None,
            fault_file=os.path.join(folder, "fault.json") if settings.workers_here else None,
            stop_file=stop_file,
        )
        pipeline = new_pipeline(folder)
        held.enter_context(watching(status, clock, streaming=streaming))
        stop = held.enter_context(_stopping(stop_file if streaming else None))
        build(pipeline, reading, publishing, streaming=streaming)
        _run_pipeline(pipeline, publishing.fault_file, stop, verbose=settings.verbose)
    return StreamResult(status, stopped=bool(stop.came))


def _refuse_a_streams_place(snapshots: str, names: Sequence[str]) -> None:
    """Refuse to publish a bounded run over a stream: its final numbers would reach the routers and end the stream."""
    destination = open_destination(snapshots)
    for name in names:
        try:
            published = destination.latest(name)
        except NotADirectoryError as error:
            raise BadUsage(f"--snapshots={snapshots}: is a file; name a folder") from error
        except ValueError as error:  # the pointer or its version is damaged or missing
            raise BadInput(str(error)) from error
        if published is not None and not json.loads(published.data)["final"]:
            raise Refused(
                f"{snapshots}: {name} is published by a stream; give a bounded run a --snapshots of its own, or remove "
                f"the folder if that stream is gone for good"
            )


def _run_pipeline(pipeline: beam.Pipeline, fault_file: str | None, stop: _Stop, *, verbose: bool) -> None:
    """Run the pipeline. Raise a worker's error as one sentence, or with `verbose` an unexpected error unchanged."""
    try:
        result = pipeline.run()
        stop.listen()  # once more: Beam has a handler of its own, which ends Prism
        result.wait_until_finish()
    except Exception as error:  # each runner wraps a worker's error in its own way
        fault = (recorded_fault(fault_file) if fault_file else None) or fault_in(error)
        if fault is not None:
            raise fault from error
        if verbose:
            raise
        # The last line is the sentence, but for gRPC's errors, which end in ">".
        said = [line.strip() for line in str(error).splitlines() if line.strip(" \t>")]
        lines = [line for line in said if line.startswith("details = ")] or said or [type(error).__name__]
        raise RecbeamError(
            f"the pipeline failed ({lines[-1][:300]}); add --verbose for the worker's traceback"
        ) from error
    if fault_file and (fault := recorded_fault(fault_file)) is not None:
        raise fault


def _publisher(publishing: PublishConfig, run_id: str) -> str:
    """Return the id under which a stream publishes: that of --state, otherwise this run's."""
    publisher = kept_publisher(publishing.state, run_id) if publishing.state else run_id
    _LOGGER.info("publishing to %s as %s", publishing.snapshots, publisher)
    return publisher


def _open_metrics(publishing: PublishConfig, status: Status, clock: Callable[[], int], *, serve: bool) -> None:
    """Serve and write the metrics; raise BadUsage or MissingExtra here, before a worker would fail."""
    port, path = publishing.metrics_port, publishing.metrics_file
    if port is not None or path:
        prometheus.check_extra()
    if port is not None and serve:
        try:
            _LOGGER.info("metrics: port %d, path /metrics", prometheus.serve(port, status, clock))
        except OSError as error:
            raise BadUsage(f"--metrics_port={port}: {error}; choose another port") from error
    if path:
        try:
            prometheus.write(path, status, clock())
        except OSError as error:
            raise BadUsage(f"--metrics_file={path}: {error.strerror}; name a file that can be written") from error


class _Stop:
    """Handle SIGTERM and SIGINT. The first signal ends the stream in order, a second one ends it at once.

    `came` holds the signals received.
    """

    def __init__(self, stop_file: str | None) -> None:
        self.came: list[int] = []
        self._path = None if stop_file is None else Path(stop_file)

    def listen(self) -> None:
        if self._path is not None and threading.current_thread() is threading.main_thread():
            for number in _STOPS:
                signal.signal(number, self._stop)

    def _stop(self, number: int, _frame: object) -> None:
        self.came.append(number)
        if len(self.came) > 1 or self._path is None:
            raise KeyboardInterrupt
        self._path.touch()
        start = "\r\x1b[K" if sys.stderr.isatty() else ""
        print(f"{start}stopping, with a last snapshot; once more to stop at once", file=sys.stderr)


@contextlib.contextmanager
def _stopping(stop_file: str | None) -> Iterator[_Stop]:
    """Handle signals while the block runs. Without a stop file signals keep their default behavior."""
    stop = _Stop(stop_file)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in _STOPS}
    stop.listen()
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
