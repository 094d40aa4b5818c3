"""Define and check the flags of reward_stream, and return their values."""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import os

from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, StandardOptions

from pipelines.reward_stream.destinations import factory
from pipelines.reward_stream.publishing.versions import Pace
from pipelines.reward_stream.sources.config import SOURCES, SequencerConfig
from pipelines.reward_stream.steps.publish import PublishConfig
from serving_client.contracts.times import parse_duration
from transforms.runs.command_line import runs_in_process

__all__ = ["RewardStreamOptions", "StreamSettings", "check", "stream_settings"]

_STREAM_ONLY = " (only with --streaming; default: off)"

# Default and help of each duration. The help ends inside the parenthesis that the default closes.
_DURATIONS = {
    "publish_interval": ("10s", "shortest time between two snapshots of changed statistics (only with --streaming"),
    "heartbeat": ("30s", "longest time between two snapshots, changed or not (only with --streaming"),
    "checkpoint_interval": ("10s", "time between two checkpoints (only with --state"),
    "keep_snapshots": ("7d", "age at which snapshots are removed (only with --streaming"),
    "bandits_poll": ("30s", "time between two reads of the bandits file (only with --streaming"),
    "poll_interval": ("200ms", "time between two looks for new input (only with --streaming"),
    "max_disorder": ("5s", "time by which the watermark trails the newest event (in event time"),
    "idle_after": (
        "5m",
        "silence after which a source no longer keeps decisions from maturing; 5m,rewards=6h gives rewards "
        "another time (only with --streaming",
    ),
    "max_hold": ("24h", "silence after which the records of a source may be rejected as late (only with --streaming"),
    "file_horizon": ("24h", "time for which the name of a vanished file is kept (only with --streaming"),
}


# Not a direct subclass of PipelineOptions: Beam parses the flags of all of those together, in whichever pipeline runs,
# and would not take a second --max_bad_fraction.
class RewardStreamOptions(StandardOptions):
    """Define the flags of reward_stream."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--bandits", metavar="FILE", help="bandits file (YAML), re-read while a stream runs; required")
        add("--decisions", metavar="GLOB", help="decision logs (JSON lines), watched with --streaming; required")
        add("--rewards", metavar="GLOB", help="reward logs (JSON lines), watched with --streaming; required")
        add(
            "--snapshots",
            metavar="DEST",
            help="where to publish: directory, s3://, gs://, dynamodb://TABLE or redis://HOST:PORT/PREFIX; required",
        )
        add("--dead_letters", metavar="DIR", help="folder for rejected records, each with its reason; required")
        add("--state", metavar="DIR", help="folder for checkpoints, from which a restart continues" + _STREAM_ONLY)
        for name, (default, about) in _DURATIONS.items():
            add(f"--{name}", metavar="DURATION", default=default, help=f"{about}; default: {default})")
        add(
            "--stop_when_idle",
            metavar="DURATION",
            help="end with a final snapshot after this silence once all input is read" + _STREAM_ONLY,
        )
        add(
            "--max_bad_fraction",
            metavar="FRACTION",
            type=float,
            default=0.01,
            help="fail before publishing if more than this fraction of the lines is malformed (only without "
            "--streaming; default: 0.01)",
        )
        add(
            "--take_over",
            action="store_true",
            help="publish even if another stream publishes to --snapshots; the other one then ends" + _STREAM_ONLY,
        )
        add("--shards", metavar="N", type=int, default=4, help="parallel parts of the join, same result (default: 4)")
        add("--metrics_port", metavar="PORT", type=int, help="serve Prometheus metrics on this port (default: off)")
        add("--metrics_file", metavar="FILE", help="write Prometheus metrics to this file (default: off)")
        add("--verbose", action="store_true", help="show the log of the runner and its workers (default: off)")


def check(options: PipelineOptions) -> list[str]:
    """Return every problem of the command line, one sentence each. No file is opened."""
    view = options.view_as(RewardStreamOptions)
    problems = [
        f"--{name} is missing; pass {what}"
        for name, what in (
            ("bandits", "the bandits file"),
            ("decisions", "a glob of decision logs"),
            ("rewards", "a glob of reward logs"),
            ("snapshots", "the directory or store to publish to"),
            ("dead_letters", "a folder for records that cannot count"),
        )
        if not getattr(view, name)
    ]
    for name in (*_DURATIONS, "stop_when_idle"):
        text = getattr(view, name)
        if text is None:
            continue
        try:
            duration_us = min(_idle_after(text).values()) if name == "idle_after" else parse_duration(text)
        except ValueError as error:
            problems.append(f"--{name}={text}: {error}")
            continue
        if name in ("poll_interval", "bandits_poll") and not duration_us:
            problems.append(f"--{name}={text}: must be greater than 0")
    if view.snapshots:
        problems += [f"--snapshots={problem}" for problem in factory.check(view.snapshots)]
    for name in ("decisions", "rewards"):
        value = getattr(view, name) or ""
        scheme = value.partition("://")[0] if "://" in value else ""
        if scheme in ("kafka", "pubsub"):
            problems.append(
                f"--{name}={value}: {scheme}:// is not supported yet; write the log to files and pass their glob"
            )
    if not problems and view.streaming:
        hold_us = parse_duration(view.max_hold)
        problems += [
            f"--idle_after={view.idle_after}: {source} may be silent for longer than --max_hold={view.max_hold}; raise "
            f"--max_hold"
            for source, idle_us in _idle_after(view.idle_after).items()
            if idle_us > hold_us
        ]
    if not 0 <= view.max_bad_fraction <= 1:
        problems.append(f"--max_bad_fraction={view.max_bad_fraction} is not between 0 and 1")
    if not 1 <= view.shards <= 1024:
        problems.append(f"--shards={view.shards} is not between 1 and 1024")
    if view.metrics_port is not None and not 0 <= view.metrics_port < 65536:
        problems.append(f"--metrics_port={view.metrics_port} is not between 0 and 65535")
    if not view.streaming:
        for name in ("state", "stop_when_idle", "take_over"):
            if getattr(view, name):
                problems.append(f"--{name} works only with --streaming; a bounded run reads all of its input each time")
    problems += _outputs_among_inputs(view)
    places = {
        name: os.path.normpath(getattr(view, name))
        for name in ("snapshots", "dead_letters", "state")
        if getattr(view, name)
    }
    if len(set(places.values())) < len(places):
        problems.append("--snapshots, --dead_letters and --state name the same folder; give each its own")
    return problems


@dataclasses.dataclass(frozen=True)
class StreamSettings:
    """Hold the flags of reward_stream as plain values.

    Args:
        reading: Settings of the reader, without what a run adds: content of the bandits file, checkpoint, stop file.
        publishing: Settings of the publisher, without what a run adds: as for `reading`, and the run's ids.
        streaming: Run until stopped.
        verbose: Show errors that are not the user's with their traceback.
        workers_here: The workers run on this machine, in this process or started by it.
    """

    reading: SequencerConfig
    publishing: PublishConfig
    streaming: bool
    verbose: bool
    workers_here: bool


def stream_settings(options: PipelineOptions) -> StreamSettings:
    """Read the flags once.

    Args:
        options: A command line without problems, see `check`.

    Returns:
        The values of the flags.
    """
    view = options.view_as(RewardStreamOptions)
    us = {name: parse_duration(getattr(view, name)) for name in _DURATIONS if name != "idle_after"}
    return StreamSettings(
        SequencerConfig(
            decisions=view.decisions,
            rewards=view.rewards,
            bandits=view.bandits,
            shards=view.shards,
            max_disorder_us=us["max_disorder"],
            idle_after_us=_idle_after(view.idle_after),
            max_hold_us=us["max_hold"],
            poll_interval_us=us["poll_interval"],
            bandits_poll_us=us["bandits_poll"],
            stop_when_idle_us=parse_duration(view.stop_when_idle) if view.stop_when_idle else None,
            file_horizon_us=us["file_horizon"],
            state_interval_us=us["checkpoint_interval"] if view.state else None,
        ),
        PublishConfig(
            snapshots=view.snapshots,
            dead_letters=view.dead_letters,
            shards=view.shards,
            pace=Pace(us["publish_interval"], us["heartbeat"], us["keep_snapshots"]),
            max_bad_fraction=view.max_bad_fraction,
            state=view.state,
            take_over=view.take_over,
            metrics_port=view.metrics_port,
            metrics_file=view.metrics_file,
        ),
        streaming=view.streaming,
        verbose=view.verbose,
        workers_here=runs_in_process(options) or options.view_as(PortableOptions).environment_type == "LOOPBACK",
    )


def _idle_after(text: str) -> dict[str, int]:
    """Parse `5m`, `rewards=6h` or `5m,rewards=6h` to microseconds by source. Raise ValueError for anything else."""
    default, named = _DURATIONS["idle_after"][0], {}
    for part in text.split(","):
        source, equals, duration = part.rpartition("=")
        if not equals:
            default = duration
        elif source in SOURCES:
            named[source] = parse_duration(duration)
        else:
            raise ValueError(f"{source} is not a source; write {' or '.join(f'{each}=DURATION' for each in SOURCES)}")
    return {**dict.fromkeys(SOURCES, parse_duration(default)), **named}


def _outputs_among_inputs(view: RewardStreamOptions) -> list[str]:
    """Return a sentence per output that is also an input. Dead letters read as input would be malformed lines."""
    problems = []
    patterns = {
        name: [os.path.realpath(each) for each in (getattr(view, name) or "").split(",") if each and "://" not in each]
        for name in ("decisions", "rewards")
    }
    for name in ("snapshots", "dead_letters", "state"):
        place = getattr(view, name)
        if not place or "://" in place:
            continue
        if os.path.isfile(place) and name != "snapshots":
            problems.append(f"--{name}={place}: is a file; name a folder")
        for source, globs in patterns.items():
            for pattern in globs:
                folder = os.path.realpath(place)
                below = any(fnmatch.fnmatch(os.path.join(folder, file), pattern) for file in ("x.jsonl", "b/1.json"))
                if below or folder == os.path.dirname(pattern):
                    problems.append(f"--{name}={place}: files there are read as --{source}; name another folder")
                    break
    if set(patterns["decisions"]) & set(patterns["rewards"]):
        problems.append("--decisions and --rewards name the same files; give each log its own pattern")
    return problems
