"""The command line of interactions: read the flags, run the pipeline, print a table and a closing sentence."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Sequence

from pipelines.interactions.options import LogOptions, check, log_settings
from pipelines.interactions.run import run
from pipelines.interactions.summary import show
from transforms.errors import BadUsage
from transforms.runs.command_line import parse, pipeline_for, run_main

__all__ = ["main"]

_EXAMPLE = """example:
  %(prog)s --decisions='logs/decisions-*' --rewards='logs/rewards-*' --kinds=click,enrol --output=out/interactions
  recbeam batch-cf --interactions=out/interactions/interactions --output=out/cf
"""
_COMMON = ("decisions", "rewards", "output", "kinds", "overwrite")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments. None means those of the process.

    Returns:
        The exit code: 0 done, 2 bad usage, 3 bad input, 1 anything else.
    """
    return run_main(lambda: _run(sys.argv[1:] if argv is None else argv))


def _run(argv: Sequence[str]) -> str:
    options = parse(
        argv,
        (LogOptions,),
        "recbeam interactions",
        "Turn decision and reward logs into interactions that batch-cf, vae-train and evaluate read.",
        _EXAMPLE,
        _COMMON,
    )
    problems = check(options)
    if problems:
        raise BadUsage("\n".join(problems))
    settings = log_settings(options)
    result = run(settings, functools.partial(pipeline_for, options), lambda: time.time_ns() // 1000)
    return show(result, settings.run.output)
