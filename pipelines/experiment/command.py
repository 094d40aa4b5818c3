"""Define the command `recbeam experiment`, which says which arm of a bandit is better."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Sequence

from pipelines.experiment.options import ExperimentOptions, check, settings_of
from pipelines.experiment.run import experiment
from transforms.errors import BadUsage
from transforms.runs.command_line import parse, pipeline_for, run_main

__all__ = ["main"]

_PROGRAM = "recbeam experiment"
_PURPOSE = (
    "Say which arm of a bandit is better: lift over the default arm, or over the holdback, with intervals that hold "
    "however often you look."
)
_EXAMPLES = """\
examples:
  %(prog)s --bandits=bandits.yaml --snapshots=snapshots --bandit=home_row
  %(prog)s --bandits=bandits.yaml --snapshots=snapshots --bandit=home_row \\
      --decisions='logs/decisions/*' --rewards='logs/rewards/*' --output=out/experiment
"""
_COMMON = (
    "bandits",
    "snapshots",
    "bandit",
    "decisions",
    "rewards",
    "output",
    "base",
    "minimum_lift",
    "json",
    "overwrite",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments. None means those of the process.

    Returns:
        The exit code: 0 done, 2 bad usage, 3 bad input, 4 refused, 1 anything else.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_main(lambda: _run(arguments))


def _run(arguments: list[str]) -> str:
    options = parse(arguments, (ExperimentOptions,), _PROGRAM, _PURPOSE, _EXAMPLES, _COMMON)
    problems = check(options.view_as(ExperimentOptions))
    if problems:
        raise BadUsage("\n".join(problems))
    return experiment(settings_of(options), functools.partial(pipeline_for, options), lambda: time.time_ns() // 1000)
