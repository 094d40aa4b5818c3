"""The command line of vae_train: read the flags, carry out the run, print its summary."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Sequence

from pipelines.vae_train.checks import check
from pipelines.vae_train.options import VaeOptions, vae_settings
from pipelines.vae_train.run import run
from pipelines.vae_train.summary import show
from transforms.errors import BadUsage
from transforms.interactions.options import InteractionOptions
from transforms.runs.command_line import parse, pipeline_for, run_main

__all__ = ["main"]

_EXAMPLE = """example:
  vae-train --interactions='logs/*.parquet' --items=courses.csv --output=out/vae --model_dir=models/vae
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
        (InteractionOptions, VaeOptions),
        "vae-train",
        "Interactions to a variational autoencoder with its features inside, ready to serve.",
        _EXAMPLE,
    )
    problems = check(options)
    if problems:
        raise BadUsage("\n".join(problems))
    settings = vae_settings(options)
    result = run(settings, functools.partial(pipeline_for, options), lambda: time.time_ns() // 1000)
    return show(result, settings.run.output)
