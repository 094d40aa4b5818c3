"""One run of reward_stream, from checked options to its end: all that happens around the pipeline."""

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

from apache_beam.options.pipeline_options import (
    DebugOptions,
    PipelineOptions,
    PortableOptions,
    PrismRunnerOptions,
    StandardOptions,
)

from pipelines.reward_stream.destinations.factory import open_destination
from pipelines.reward_stream.faults import fault_in, recorded_fault
from pipelines.reward_stream.logs import files_of
from pipelines.reward_stream.monitoring import exposition
from pipelines.reward_stream.monitoring.status import Status, status_of
from pipelines.reward_stream.monitoring.terminal import watching
from pipelines.reward_stream.options import RewardStreamOptions, duration_us
from pipelines.reward_stream.pipeline import build
from pipelines.reward_stream.prism import wrapped
from pipelines.reward_stream.publishing import checkpoint as checkpoints
from pipelines.reward_stream.publishing.publisher import Pace
from pipelines.reward_stream.sources.config import SequencerConfig
from pipelines.reward_stream.steps.publish import PublishConfig
from pipelines.reward_stream.totals.counters import STREAM
from serving_client.contracts.bandits import BanditsError, check_disorder
from transforms.attribution import bandits_file
from transforms.errors import BadUsage, RecbeamError, Refused
from transforms.runs.command_line import pipeline_for
from transforms.runs.run_record import new_run_id

__all__ = ["StreamResult", "run"]

_LOGGER = logging.getLogger(__name__)

_IN_PROCESS = {"", "fnapirunner", "directrunner", "prismrunner", "bundlebaseddirectrunner"}
_STOPS = (signal.SIGTERM, signal.SIGINT)
_BEAMS_TIMEOUT_S, _NO_TIMEOUT_S = 300, 10 * 365 * 86_400
_NO_SPLIT = "prism_disable_sdf_split"  # without it Prism corrupts keyed state, silently


@dataclasses.dataclass(frozen=True)
class StreamResult:
    """Hold what a run did.

    Args:
        status: Counts and versions. Empty where workers run on other machines.
        stopped: Whether a signal ended the run and left windows open.
    """

    status: Status
    stopped: bool


def run(options: PipelineOptions, clock: Callable[[], int]) -> StreamResult:
    """Carry out checked options. clock: microseconds since 1970.

    Raises BadUsage, BadInput before anything is written; BadInput, Refused for what workers found.
    """
    view = options.view_as(RewardStreamOptions)
    data, bandits = bandits_file.read(view.bandits)
    try:
        check_disorder(bandits, duration_us(view, "max_disorder"))
    except BanditsError as error:
        raise BadUsage(f"{view.bandits}: {error}") from error
    if not view.streaming:
        for flag in ("decisions", "rewards"):
            files_of(getattr(view, flag), f"--{flag}")
        _refuse_a_streams_place(view.snapshots, [*bandits.bandits, STREAM])
    run_id = new_run_id(clock)
    status = status_of(run_id)
    with contextlib.ExitStack() as held:
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="reward-stream-"))
        started = None
        if view.state:
            held.enter_context(checkpoints.hold(view.state))
            started = checkpoints.load(view.state, bandits)
            for note in started.notes if started else ():
                _LOGGER.warning("%s", note)
        local = _is_local(options)
        stop_file = os.path.join(folder, "stop") if local else None
        fault_file = os.path.join(folder, "fault.json") if local else None
        _open_metrics(view, status, clock, local=local)
        reading = _reading(view, data, started, stop_file)
        publishing = _publishing(view, data, started, run_id, stop_file, fault_file)
        _choose_runner(options, folder)
        held.enter_context(watching(status, clock, streaming=view.streaming))
        stop = held.enter_context(_stopping(stop_file if view.streaming else None))
        _run_pipeline(options, reading, publishing, data, stop, verbose=view.verbose)
    return StreamResult(status, stopped=bool(stop.came))


def _refuse_a_streams_place(snapshots: str, names: Sequence[str]) -> None:
    """A bounded run's final numbers, published among a stream's, would reach its routers and end the stream."""
    destination = open_destination(snapshots)
    for name in names:
        try:
            published = destination.latest(name)
        except NotADirectoryError as error:
            raise BadUsage(f"--snapshots={snapshots}: is a file; name a folder") from error
        if published is not None and not json.loads(published.data)["final"]:
            raise Refused(
                f"{snapshots}: {name} is published by a stream; give a bounded run a --snapshots of its own, or remove "
                f"the folder if that stream is gone for good"
            )


def _run_pipeline(
    options: PipelineOptions,
    reading: SequencerConfig,
    publishing: PublishConfig,
    bandits: bytes,
    stop: _Stop,
    *,
    verbose: bool,
) -> None:
    """Raises what workers found wrong, as one sentence; with `verbose` an unexpected error as it is."""
    fault_file = publishing.fault_file
    pipeline = pipeline_for(options)
    build(pipeline, reading, publishing, bandits, streaming=options.view_as(StandardOptions).streaming)
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


def _reading(
    view: RewardStreamOptions, data: bytes, started: checkpoints.Checkpoint | None, stop_file: str | None
) -> SequencerConfig:
    return SequencerConfig(
        decisions=view.decisions,
        rewards=view.rewards,
        bandits=view.bandits,
        bandits_data=data,
        shards=view.shards,
        max_disorder_us=duration_us(view, "max_disorder"),
        idle_after_us=duration_us(view, "idle_after"),
        max_hold_us=duration_us(view, "max_hold"),
        poll_interval_us=duration_us(view, "poll_interval"),
        bandits_poll_us=duration_us(view, "bandits_poll"),
        stop_when_idle_us=duration_us(view, "stop_when_idle") if view.stop_when_idle else None,
        file_horizon_us=duration_us(view, "file_horizon"),
        stop_file=stop_file,
        state_interval_us=duration_us(view, "checkpoint_interval") if view.state else None,
        started=started.sources if started else None,
    )


def _publishing(
    view: RewardStreamOptions,
    data: bytes,
    started: checkpoints.Checkpoint | None,
    run_id: str,
    stop_file: str | None,
    fault_file: str | None,
) -> PublishConfig:
    return PublishConfig(
        run_id=run_id,
        bandits=data,
        snapshots=view.snapshots,
        dead_letters=view.dead_letters,
        shards=view.shards,
        pace=Pace(
            duration_us(view, "publish_interval"),
            duration_us(view, "heartbeat"),
            duration_us(view, "keep_snapshots"),
        ),
        max_bad_fraction=view.max_bad_fraction,
        state=view.state,
        checkpoint=checkpoints.pack(started) if started else None,
        fault_file=fault_file,
        stop_file=stop_file,
        metrics_port=view.metrics_port,
        metrics_file=view.metrics_file,
    )


def _is_local(options: PipelineOptions) -> bool:
    """Whether workers run in this process."""
    runner = (options.view_as(StandardOptions).runner or "").rsplit(".", 1)[-1].lower()
    return runner in _IN_PROCESS or options.view_as(PortableOptions).environment_type == "LOOPBACK"


def _open_metrics(view: RewardStreamOptions, status: Status, clock: Callable[[], int], *, local: bool) -> None:
    """Raises BadUsage, MissingExtra: better now than in a worker."""
    if view.metrics_port is not None:
        exposition.check_extra()
        if local:
            try:
                port = exposition.serve(view.metrics_port, status, clock)
            except OSError as error:
                raise BadUsage(f"--metrics_port={view.metrics_port}: {error}; choose another port") from error
            _LOGGER.info("metrics: port %d, path /metrics", port)
    if view.metrics_file:
        exposition.check_extra()
        try:
            exposition.write(view.metrics_file, status, clock())
        except OSError as error:
            raise BadUsage(
                f"--metrics_file={view.metrics_file}: {error.strerror}; name a file that can be written"
            ) from error


def _choose_runner(options: PipelineOptions, folder: str) -> None:
    """A stream runs on Prism unless told otherwise, started as `prism` says and without splitting bundles.

    Beam ends its watch over a job after --job_server_timeout (300 s), and with it Prism and the job; its help says
    otherwise. A stream is watched for as long as it lasts.
    """
    standard, portable = options.view_as(StandardOptions), options.view_as(PortableOptions)
    if standard.streaming and portable.job_server_timeout == _BEAMS_TIMEOUT_S:
        portable.job_server_timeout = _NO_TIMEOUT_S
    if standard.streaming and not standard.runner:
        standard.runner = "PrismRunner"
    if standard.runner != "PrismRunner":
        return
    debug, prism = options.view_as(DebugOptions), options.view_as(PrismRunnerOptions)
    if not debug.lookup_experiment(_NO_SPLIT):
        debug.add_experiment(_NO_SPLIT)
    if not options.view_as(DebugOptions).lookup_experiment(_NO_SPLIT):
        raise BadUsage(f"--experiments={_NO_SPLIT} did not reach the pipeline; without it Prism corrupts state")
    location = wrapped(folder, prism.prism_location)
    if location is not None:
        prism.prism_location = location


class _Stop:
    """What SIGTERM and SIGINT do: the first ends the stream in order, a second one at once. came: those that did."""

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
    """Listen for signals while the block runs; without a file they do what they always do."""
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
