"""Define the command line of reward_stream: read the flags, run, print a closing sentence. Run inspect and replay."""

from __future__ import annotations

import functools
import importlib
import logging
import sys
import threading
from collections.abc import Sequence

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import (
    DebugOptions,
    PipelineOptions,
    PortableOptions,
    PrismRunnerOptions,
    StandardOptions,
)

from pipelines.reward_stream.options import RewardStreamOptions, StreamSettings, check, stream_settings
from pipelines.reward_stream.prism import wrapped
from pipelines.reward_stream.run import StreamResult, run
from recbeam.arguments import closest
from serving_client.contracts.times import wall_clock_us
from transforms.errors import BadInput, BadUsage
from transforms.runs.command_line import parse, pipeline_for, run_main

__all__ = ["checked_options", "count", "main"]

_SUBCOMMANDS = ("inspect", "replay")
_PROGRAM = "recbeam reward-stream"
_BEAMS_TIMEOUT_S, _NO_TIMEOUT_S = 300, 10 * 365 * 86_400
_NO_SPLIT = "prism_disable_sdf_split"  # without this experiment Prism corrupts keyed state and reports no error
_EXAMPLE = """\
Two more commands have a --help of their own:
  %(prog)s inspect DEST    print the newest snapshots
  %(prog)s replay          recount a time range or dead letters

examples:
  %(prog)s --bandits=bandits.yaml --decisions='logs/decisions/*' --rewards='logs/rewards/*' \\
      --snapshots=out/snapshots --dead_letters=out/dead_letters
  %(prog)s ... --streaming --state=out/state --metrics_port=9464

A DURATION is a number with ms, s, m, h or d, for example 30m.

SIGTERM or Ctrl-C stops a stream. The stream saves its state and publishes, and leaves open windows open. With --state,
the same command resumes it.

A run is refused (exit code 4), for example, if another run publishes to the same place.
"""
_COMMON = (
    "bandits", "decisions", "rewards", "snapshots", "dead_letters", "streaming", "state", "publish_interval",
    "metrics_port", "verbose",
)  # fmt: skip
_STREAMING = (
    "run until stopped and read new records as they arrive; without --runner the stream runs on PrismRunner (default: "
    "off, read all records once and end)"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments. None means those of the process.

    Returns:
        The exit code: 0 done, 2 bad usage, 3 bad input, 4 refused, 1 anything else.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None and "--verbose" not in arguments:  # a process of its own
        threading.excepthook = _without_closed_channels
    if arguments and arguments[0] in _SUBCOMMANDS:
        code: int = importlib.import_module(f"pipelines.reward_stream.{arguments[0]}.command").main(arguments[1:])
        return code
    return run_main(lambda: count(arguments))


def _without_closed_channels(args: threading.ExceptHookArgs) -> None:
    """Print a thread's error, except that of a gRPC call.

    Beam's threads listen to the runner. When the runner has ended, their errors would follow the closing sentence.
    """
    if not (args.exc_type is not None and issubclass(args.exc_type, grpc.RpcError)):
        threading.__excepthook__(args)


def count(argv: Sequence[str]) -> str:
    """Run the pipeline that a command line describes.

    Args:
        argv: The arguments, without a sub-command.

    Returns:
        The closing sentence.

    Raises:
        RecbeamError: The arguments, the input or another run stop the pipeline.
    """
    if argv and not argv[0].startswith("-"):
        close = closest(argv[0], _SUBCOMMANDS)
        hint = f"; did you mean {close}?" if close else ""
        raise BadUsage(f"{_PROGRAM}: {argv[0]} is not a command{hint} (commands: {', '.join(_SUBCOMMANDS)})")
    _set_up_logging(verbose="--verbose" in argv)  # before parse: Beam's options add a handler that prints everything
    options = checked_options(argv)
    settings = stream_settings(options)
    return _closing(run(settings, functools.partial(_new_pipeline, options), wall_clock_us), settings)


def checked_options(argv: Sequence[str], program: str = _PROGRAM) -> PipelineOptions:
    """Parse a command line and check it. No file is opened.

    Args:
        argv: The arguments, without a sub-command.
        program: Name of the command in errors.

    Returns:
        Beam's options.

    Raises:
        BadUsage: The command line has problems.
    """
    options = parse(
        argv,
        (RewardStreamOptions,),
        program,
        "Join rewards to decisions, and publish the statistics of every arm.",
        _EXAMPLE,
        _COMMON,
        _STREAMING,
    )
    problems = check(options)
    if problems:
        raise BadUsage("\n".join(problems))
    return options


def _new_pipeline(options: PipelineOptions, folder: str) -> beam.Pipeline:
    """Return an empty pipeline; without --runner a stream runs on Prism, which does not split bundles.

    Beam stops watching a job after --job_server_timeout (300 s), and then ends Prism and the job. For a stream the
    default is ten years.

    Args:
        options: Beam's options. They are changed.
        folder: Folder for the program that starts Prism.

    Raises:
        BadUsage: The experiment that Prism needs cannot be set.
    """
    standard, portable = options.view_as(StandardOptions), options.view_as(PortableOptions)
    if standard.streaming and portable.job_server_timeout == _BEAMS_TIMEOUT_S:
        portable.job_server_timeout = _NO_TIMEOUT_S
    if standard.streaming and not standard.runner:
        standard.runner = "PrismRunner"
    if standard.runner == "PrismRunner":
        debug, prism = options.view_as(DebugOptions), options.view_as(PrismRunnerOptions)
        if not debug.lookup_experiment(_NO_SPLIT):
            debug.add_experiment(_NO_SPLIT)
        if not options.view_as(DebugOptions).lookup_experiment(_NO_SPLIT):
            raise BadUsage(f"--experiments={_NO_SPLIT} did not reach the pipeline; without it Prism corrupts state")
        prism.prism_location = wrapped(folder, prism.prism_location) or prism.prism_location
    return pipeline_for(options)


def _set_up_logging(*, verbose: bool) -> None:
    """Show this pipeline's warnings on stderr, and the runner's log with `verbose` only.

    The closing sentence reports a worker's error.
    """
    ours, root = logging.getLogger("pipelines.reward_stream"), logging.getLogger()
    if not ours.handlers:
        shown = logging.StreamHandler()
        # On a terminal, clear the status line first.
        shown.setFormatter(logging.Formatter("\r\x1b[K%(message)s" if sys.stderr.isatty() else "%(message)s"))
        ours.addHandler(shown)
        ours.setLevel(logging.INFO)
        ours.propagate = False
    if verbose:
        logging.basicConfig(level=logging.INFO)
        logging.getLogger("apache_beam").setLevel(logging.INFO)
        return
    root.addHandler(logging.NullHandler())
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)


def _closing(result: StreamResult, settings: StreamSettings) -> str:
    """Return the closing sentence. Raise BadInput if a bounded run found no record."""
    status, snapshots = result.status, settings.publishing.snapshots
    versions = ", ".join(f"{name} version {written.version}" for name, written in sorted(status.versions.items()))
    if not versions:
        if not settings.streaming and not status.records_read:
            read = settings.reading
            raise BadInput(f"--decisions={read.decisions}, --rewards={read.rewards}: no record in any file; check them")
        return f"{'stopped' if result.stopped else 'done'}: {snapshots} has what was published, if anything was"
    said = f"{status.records_read:,} records read, {status.dead_letters:,} dead letters; {snapshots}: {versions}"
    if result.stopped and settings.publishing.state:
        return f"stopped: {said}; the same command goes on from here"
    return f"{'stopped' if result.stopped else 'done'}: {said}"
