"""The command line of batch_cf: read the flags, carry out the run, print its summary."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Sequence

from pipelines.batch_cf.options import CfOptions, cf_settings, check
from pipelines.batch_cf.run import run
from pipelines.batch_cf.summary import show
from transforms.errors import BadUsage
from transforms.interactions.options import InteractionOptions
from transforms.runs.command_line import parse, pipeline_for, run_main

__all__ = ["main"]

_EXAMPLE = """example:
  batch-cf --interactions='logs/*.parquet' --items=courses.csv --output=out/cf --model_dir=models/cf
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The flags. None takes them from sys.argv.

    Returns:
        The exit code: 0 done, 2 bad usage, 3 bad input, 1 any other error.
    """
    return run_main(lambda: _run(sys.argv[1:] if argv is None else argv))


def _run(argv: Sequence[str]) -> str:
    options = parse(
        argv,
        (InteractionOptions, CfOptions),
        "batch-cf",
        "Interactions to item neighbors and a servable model.",
        _EXAMPLE,
    )
    problems = check(options)
    if problems:
        raise BadUsage("\n".join(problems))
    settings = cf_settings(options)
    result = run(settings, functools.partial(pipeline_for, options), lambda: time.time_ns() // 1000)
    return show(result, settings.run.output)
