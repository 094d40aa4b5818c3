"""Define the commands `split`, which divides a log, and `evaluate`, which measures models on the held-out part."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from pipelines.evaluate.options import (
    EvaluateOptions,
    SplitOptions,
    check_evaluate,
    check_split,
    evaluate_settings,
    split_settings,
)
from pipelines.evaluate.run import evaluate
from pipelines.evaluate.run_split import split
from recbeam.arguments import EXIT_CODES, closest
from transforms.errors import BadUsage
from transforms.interactions.options import InteractionOptions
from transforms.runs.command_line import parse, pipeline_for, run_main

__all__ = ["main"]

COMMANDS: dict[str, tuple[Any, Callable[[Any], list[str]], Callable[[Any], Any], Callable[..., str], str]] = {
    "split": (
        SplitOptions,
        check_split,
        split_settings,
        split,
        "Divide an interaction log into rows to train on and held-out rows.",
    ),
    "evaluate": (
        EvaluateOptions,
        check_evaluate,
        evaluate_settings,
        evaluate,
        "Measure models and baselines on held-out interactions. Optionally gate and publish a model.",
    ),
}
EXAMPLES = {
    "split": "example:\n  %(prog)s --interactions='logs/*.parquet' --output=split\n",
    "evaluate": "example:\n  %(prog)s --model=cf=out/cf --interactions=split/train "
    "--holdout=split/holdout \\\n      --output=out/report\n",
}
COMMON = {
    "split": (
        "interactions", "output", "by", "holdout", "fold_in", "user_column", "item_column", "timestamp_column", "seed",
        "overwrite",
    ),
    "evaluate": (
        "interactions", "holdout", "model", "output", "k", "gate", "publish", "protocol", "tune_baselines", "overwrite",
    ),
}  # fmt: skip
PROGRAM = "recbeam evaluate"
USAGE = f"usage: {PROGRAM} COMMAND [--FLAG=VALUE ...]\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `split` or `evaluate`.

    Args:
        argv: The arguments. None means those of the process.

    Returns:
        The exit code: 0 done, 2 bad usage, 3 bad input, 4 refused, 1 anything else.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] in (["-h"], ["--help"]):
        print(USAGE)
        for name, (*_, purpose) in COMMANDS.items():
            print(f"  {name:9} {purpose}")
        print(f"\n{PROGRAM} COMMAND --help shows the flags of a command.\n{EXIT_CODES}")
        return 0
    return run_main(lambda: _run(arguments))


def _run(arguments: list[str]) -> str:
    if not arguments:
        raise BadUsage(f"{PROGRAM}: names no command; use split or evaluate (see --help)")
    if arguments[0] not in COMMANDS:
        close = closest(arguments[0], COMMANDS)
        hint = f"; did you mean {close}?" if close else ""
        raise BadUsage(f"{PROGRAM}: {arguments[0]} is not a command{hint} (commands: {', '.join(COMMANDS)})")
    kind, check, settings, carry_out, purpose = COMMANDS[arguments[0]]
    flags = (InteractionOptions, kind)
    name = arguments[0]
    options = parse(arguments[1:], flags, f"{PROGRAM} {name}", purpose, EXAMPLES[name], COMMON[name])
    problems = check(options.view_as(kind))
    if problems:
        raise BadUsage("\n".join(problems))
    new_pipeline = functools.partial(pipeline_for, options)
    return carry_out(settings(options), new_pipeline, lambda: time.time_ns() // 1000)
