"""Define the command line of vae_train: read the flags, train, print a table and a closing sentence."""

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
  %(prog)s --interactions='logs/*.parquet' --items=courses.csv --output=out/vae --model_dir=models/vae
"""
_COMMON = (
    "interactions", "output", "model_dir", "items", "side_columns", "user_column", "item_column", "since", "epochs",
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
        (InteractionOptions, VaeOptions),
        "recbeam vae-train",
        "Train a variational autoencoder on interactions, and export a model that computes its own features.",
        _EXAMPLE,
        _COMMON,
    )
    problems = check(options)
    if problems:
        raise BadUsage("\n".join(problems))
    settings = vae_settings(options)
    result = run(settings, functools.partial(pipeline_for, options), lambda: time.time_ns() // 1000)
    return show(result, settings.run.output)
