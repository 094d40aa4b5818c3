"""The command line of batch_cf: read the flags, run the pipeline, print a table and a closing sentence."""

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
  %(prog)s --interactions='logs/*.parquet' --items=courses.csv --output=out/cf --model_dir=models/cf
"""
_COMMON = (
    "interactions", "output", "model_dir", "items", "user_column", "item_column", "since", "similarity", "top_k",
    "overwrite",
)  # fmt: skip


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
        (InteractionOptions, CfOptions),
        "recbeam batch-cf",
        "Compute the neighbors of every item from interactions, and export a model that serves recommendations.",
        _EXAMPLE,
        _COMMON,
    )
    problems = check(options)
    if problems:
        raise BadUsage("\n".join(problems))
    settings = cf_settings(options)
    result = run(settings, functools.partial(pipeline_for, options), lambda: time.time_ns() // 1000)
    return show(result, settings.run.output)
