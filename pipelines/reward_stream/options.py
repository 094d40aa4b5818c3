"""The flags of reward_stream: what each means, its unit and default, and every problem a command line can have."""

from __future__ import annotations

import argparse
import fnmatch
import os

from apache_beam.options.pipeline_options import StandardOptions

from pipelines.reward_stream.destinations import factory
from serving_client.contracts.times import parse_duration

__all__ = ["RewardStreamOptions", "check", "duration_us"]

_DURATIONS = (
    "publish_interval", "heartbeat", "checkpoint_interval", "bandits_poll", "max_disorder", "max_hold", "idle_after",
    "file_horizon", "poll_interval", "keep_snapshots",
)  # fmt: skip


# Not a direct subclass of PipelineOptions: Beam parses the flags of all of those together, in whichever pipeline runs,
# and would not take a second --max_bad_fraction.
class RewardStreamOptions(StandardOptions):
    """Decisions and rewards to arm statistics."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--bandits", metavar="FILE", help="bandits file (YAML), read again while the stream runs")
        add("--decisions", metavar="GLOB", help="decision logs, JSON lines; watched with --streaming")
        add("--rewards", metavar="GLOB", help="reward logs, JSON lines; watched with --streaming")
        add("--snapshots", metavar="DEST", help="directory, s3://, gs://, dynamodb://TABLE or redis://HOST:PORT/PREFIX")
        add("--dead_letters", metavar="DIR", help="where records that cannot count are kept, with the reason")
        add("--state", metavar="DIR", help="checkpoints, so that a restart goes on where it was (--streaming)")
        add("--publish_interval", default="10s", help="a snapshot this often if anything changed (default: 10s)")
        add("--heartbeat", default="30s", help="a snapshot at least this often (default: 30s)")
        add("--checkpoint_interval", default="10s", help="save --state this often (default: 10s)")
        add("--keep_snapshots", default="7d", help="remove snapshots older than this (default: 7d)")
        add("--bandits_poll", default="30s", help="look for a new bandits file this often (default: 30s)")
        add("--poll_interval", default="200ms", help="look for new input this often (default: 200ms)")
        add("--max_disorder", default="5s", help="the watermark trails the newest event by this much (default: 5s)")
        add("--idle_after", default="5m", help="a source silent for this long stops holding decisions (default: 5m)")
        add("--max_hold", default="24h", help="a silent source keeps records from being late this long (default: 24h)")
        add("--file_horizon", default="24h", help="remember a vanished file's name this long (default: 24h)")
        add(
            "--stop_when_idle",
            metavar="DURATION",
            help="end once all input is read and silent this long (default: off)",
        )
        add(
            "--max_bad_fraction",
            type=float,
            default=0.01,
            help="malformed lines above this fraction fail a batch run before it publishes (default: 0.01)",
        )
        add("--shards", type=int, default=4, help="parts the join is divided into; same output (default: 4)")
        add("--metrics_port", type=int, help="serve Prometheus metrics on this port (default: off)")
        add("--metrics_file", metavar="FILE", help="write Prometheus metrics to this file (default: off)")
        add("--verbose", action="store_true", help="show what the runner and its workers log")


def check(view: RewardStreamOptions) -> list[str]:
    """Every problem of the command line, one sentence each; nothing is opened."""
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
            duration_us = parse_duration(text)
        except ValueError as error:
            problems.append(f"--{name}={text}: {error}")
            continue
        if name in ("poll_interval", "bandits_poll") and not duration_us:
            problems.append(f"--{name}={text}: would look all the time; pass what may pass between two looks")
    if view.snapshots:
        problems += [f"--snapshots={problem}" for problem in factory.check(view.snapshots)]
    for name in ("decisions", "rewards"):
        value = getattr(view, name) or ""
        scheme = value.partition("://")[0] if "://" in value else ""
        if scheme in ("kafka", "pubsub"):
            problems.append(f"--{name}={value}: {scheme} is not read yet; write the log to files and pass their glob")
    if not 0 <= view.max_bad_fraction <= 1:
        problems.append(f"--max_bad_fraction={view.max_bad_fraction} is not between 0 and 1")
    if not 1 <= view.shards <= 1024:
        problems.append(f"--shards={view.shards} is not between 1 and 1024")
    if view.metrics_port is not None and not 0 <= view.metrics_port < 65536:
        problems.append(f"--metrics_port={view.metrics_port} is no port")
    if not view.streaming:
        for name in ("state", "stop_when_idle"):
            if getattr(view, name):
                problems.append(f"--{name} goes with --streaming; a bounded run reads all of its input each time")
    problems += _outputs_among_inputs(view)
    places = {
        name: os.path.normpath(getattr(view, name))
        for name in ("snapshots", "dead_letters", "state")
        if getattr(view, name)
    }
    if len(set(places.values())) < len(places):
        problems.append("--snapshots, --dead_letters and --state name one folder; give each its own")
    return problems


def _outputs_among_inputs(view: RewardStreamOptions) -> list[str]:
    """What a run writes must not be what it reads: each dead letter would be one more malformed line."""
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


def duration_us(view: RewardStreamOptions, name: str) -> int:
    """A checked duration flag in microseconds."""
    return parse_duration(getattr(view, name))
