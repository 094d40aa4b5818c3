"""The command line of batch_cf: flags to a run, the run to a table and a closing sentence."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from pipelines.batch_cf import options as cf_options
from pipelines.batch_cf.options import CfOptions
from pipelines.batch_cf.run import run
from pipelines.batch_cf.summary import show
from transforms.errors import BadUsage
from transforms.interactions.options import InteractionOptions
from transforms.runs.command_line import parse, run_main

__all__ = ["main"]

_EXAMPLE = """example:
  batch-cf --interactions='logs/*.parquet' --items=courses.csv --output=out/cf --model_dir=models/cf
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 2 bad usage, 3 bad input, 1 anything else."""
    return run_main(lambda: _run(sys.argv[1:] if argv is None else argv))


def _run(argv: Sequence[str]) -> str:
    options = parse(
        argv,
        (InteractionOptions, CfOptions),
        "batch-cf",
        "Interactions to item neighbors and a servable model.",
        _EXAMPLE,
    )
    problems = cf_options.check(options)
    if problems:
        raise BadUsage("\n".join(problems))
    outcome = run(options, lambda: time.time_ns() // 1000)
    return show(outcome, options.view_as(CfOptions).output)
