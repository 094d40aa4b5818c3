"""Declare the flags of `recbeam experiment`, check them, and read their values."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from transforms.interactions.files import split_globs
from transforms.runs.settings import RunSettings, run_settings

__all__ = ["ExperimentOptions", "ExperimentSettings", "check", "settings_of"]


# Not a direct subclass of PipelineOptions: Beam parses the flags of all of those together, in whichever pipeline runs,
# and would not take a second --decisions.
class ExperimentOptions(StandardOptions):
    """A bandit's statistics, and its logs, to a verdict."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--bandits", metavar="FILE", help="bandits file (YAML), local or in a bucket; required")
        parser.add_argument(
            "--snapshots",
            metavar="URI",
            help="where reward_stream publishes: a directory, s3://, gs://, http://, dynamodb://, redis://; required",
        )
        parser.add_argument(
            "--bandit", metavar="NAME", help="the bandit to judge (default: the only one in the bandits file)"
        )
        parser.add_argument(
            "--decisions",
            metavar="GLOB[,GLOB]",
            help="decision logs of the whole epoch; with --rewards and --output, users are counted and not decisions "
            "(default: decisions are taken as independent)",
        )
        parser.add_argument("--rewards", metavar="GLOB[,GLOB]", help="reward logs, see --decisions (default: none)")
        parser.add_argument(
            "--output",
            metavar="DIR",
            help="folder for experiment.json and report.html (default: the result is only printed)",
        )
        parser.add_argument(
            "--base",
            choices=("holdback", "default"),
            help="what arms are compared with: the holdback share, or the default arm (default: the holdback if it has "
            "decisions)",
        )
        parser.add_argument(
            "--minimum_lift",
            type=float,
            metavar="SHARE",
            help="smallest lift that matters, as a share of the base's mean reward, for example 0.05; the runtime "
            "refers to it (default: the observed lift)",
        )
        parser.add_argument(
            "--json", action="store_true", help="print one JSON object instead of tables (default: off)"
        )
        parser.add_argument(
            "--max_bad_fraction",
            metavar="FRACTION",
            type=float,
            default=0.01,
            help="fail if more than this fraction of the lines of the logs is malformed (default: 0.01)",
        )
        parser.add_argument("--overwrite", action="store_true", help="replace what --output holds (default: refuse)")


@dataclasses.dataclass(frozen=True)
class ExperimentSettings:
    """The flags as plain values.

    Args:
        run: Where the run writes. `output` is empty if it writes nothing.
        bandits: Bandits file.
        snapshots: Address of the snapshots.
        bandit_id: The bandit. None takes the only one.
        decisions: Patterns of decision logs. Empty reads no logs.
        rewards: Patterns of reward logs.
        base: "holdback" or "default". None takes the holdback if it has decisions.
        minimum_lift: Smallest relative lift that matters. None takes the observed one.
        as_json: Print JSON.
        max_bad_fraction: Largest share of malformed lines.
    """

    run: RunSettings
    bandits: str
    snapshots: str
    bandit_id: str | None
    decisions: Sequence[str]
    rewards: Sequence[str]
    base: str | None
    minimum_lift: float | None
    as_json: bool
    max_bad_fraction: float


def check(options: Any) -> list[str]:
    """Return every problem of the flags, one sentence each."""
    problems = []
    if not options.bandits:
        problems.append("--bandits is not set; pass the bandits file of the stream, for example --bandits=bandits.yaml")
    if not options.snapshots:
        problems.append(
            "--snapshots is not set; pass the --snapshots of the stream, for example --snapshots=out/snapshots"
        )
    if bool(options.decisions) != bool(options.rewards):
        given, other = ("decisions", "rewards") if options.decisions else ("rewards", "decisions")
        problems.append(f"--{given} is set and --{other} is not; users can be counted only from both logs")
    if options.decisions and not options.output:
        problems.append("--decisions needs --output, a folder for the run that reads the logs; pass --output=DIR")
    lift = options.minimum_lift
    if lift is not None and not (math.isfinite(lift) and lift > 0):
        problems.append(f"--minimum_lift={lift:g} must be greater than 0, for example 0.05 for a lift of 5%")
    if not 0 <= options.max_bad_fraction <= 1:
        problems.append(f"--max_bad_fraction={options.max_bad_fraction:g} must be between 0 and 1")
    return problems


def settings_of(options: PipelineOptions) -> ExperimentSettings:
    """Read the flags once.

    Args:
        options: A command line without problems, see `check`.
    """
    view = options.view_as(ExperimentOptions)
    return ExperimentSettings(
        run=run_settings(options, (ExperimentOptions,), ("bandits", "snapshots", "decisions", "rewards", "json")),
        bandits=view.bandits,
        snapshots=view.snapshots,
        bandit_id=view.bandit,
        decisions=split_globs(view.decisions or ""),
        rewards=split_globs(view.rewards or ""),
        base=view.base,
        minimum_lift=view.minimum_lift,
        as_json=view.json,
        max_bad_fraction=view.max_bad_fraction,
    )
