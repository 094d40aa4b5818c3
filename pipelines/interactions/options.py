"""Declare the flags of interactions, check them, and read their values."""

from __future__ import annotations

import argparse
import dataclasses

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from transforms.interactions.files import split_globs
from transforms.runs.settings import RunSettings, run_settings

__all__ = ["LogOptions", "LogSettings", "check", "log_settings"]

_UNRECORDED = {"decisions", "rewards"}
"""run.json records the digests of the logs instead."""


# Not a direct subclass of PipelineOptions: Beam parses the flags of all of those together, in whichever pipeline runs,
# and would not take a second --output.
class LogOptions(StandardOptions):
    """Decision and reward logs to interactions."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--decisions", metavar="GLOB[,GLOB]", help="files of the decision log; required")
        add("--rewards", metavar="GLOB[,GLOB]", help="files of the reward log; required")
        add("--output", metavar="DIR", help="folder to write: interactions/, run.json; required")
        add("--overwrite", action="store_true", help="replace what --output holds (default: refuse)")
        add(
            "--kinds",
            metavar="KIND[,KIND]",
            default="click",
            help="kinds of rewards that are interactions, such as click,enrol (default: click)",
        )
        add(
            "--max_bad_fraction",
            metavar="FRACTION",
            type=float,
            default=0.01,
            help="fail before writing if more than this fraction of the lines is malformed (default: 0.01)",
        )


def check(options: PipelineOptions) -> list[str]:
    """Return every problem of the command line, one sentence each. No file is opened."""
    view = options.view_as(LogOptions)
    problems = [
        f"--{name} is not set; pass {what}"
        for name, what in {
            "decisions": "the files of the decision log",
            "rewards": "the files of the reward log",
            "output": "the folder to write",
        }.items()
        if not getattr(view, name)
    ]
    if not _names(view.kinds):
        problems.append(f"--kinds={view.kinds} names no kind; write them like click,enrol")
    if not 0 <= view.max_bad_fraction <= 1:
        problems.append(f"--max_bad_fraction={view.max_bad_fraction} is not between 0 and 1")
    return problems


@dataclasses.dataclass(frozen=True)
class LogSettings:
    """The flags of interactions as plain values.

    Args:
        run: Where the run writes.
        decisions: Patterns of the decision log's files.
        rewards: Patterns of the reward log's files.
        kinds: Kinds of rewards that are interactions.
        max_bad_fraction: Largest share of malformed lines.
    """

    run: RunSettings
    decisions: tuple[str, ...]
    rewards: tuple[str, ...]
    kinds: frozenset[str]
    max_bad_fraction: float


def log_settings(options: PipelineOptions) -> LogSettings:
    """Read the flags once.

    Args:
        options: A command line without problems, see `check`.

    Returns:
        The values of the flags.
    """
    view = options.view_as(LogOptions)
    kinds = _names(view.kinds)
    run = run_settings(options, (LogOptions,), _UNRECORDED)
    return LogSettings(
        run=dataclasses.replace(run, options={**run.options, "kinds": ",".join(sorted(kinds))}),
        decisions=tuple(split_globs(view.decisions)),
        rewards=tuple(split_globs(view.rewards)),
        kinds=kinds,
        max_bad_fraction=view.max_bad_fraction,
    )


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())
