"""The command line of evaluate: `split` a log, `evaluate` models on what was held out."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from pipelines.evaluate import run
from pipelines.evaluate.options import (
    EvaluateOptions,
    SplitOptions,
    check_evaluate,
    check_split,
    evaluate_settings,
    split_settings,
)
from transforms.errors import BadUsage
from transforms.interactions.options import InteractionOptions
from transforms.runs.command_line import parse, pipeline_for, run_main

__all__ = ["main"]

COMMANDS: dict[str, tuple[Any, Callable[[Any], list[str]], Callable[[Any], Any], Callable[..., str], str]] = {
    "split": (
        SplitOptions,
        check_split,
        split_settings,
        run.split,
        "Divide an interaction log into train and holdout.",
    ),
    "evaluate": (
        EvaluateOptions,
        check_evaluate,
        evaluate_settings,
        run.evaluate,
        "Measure models and baselines on held-out interactions; gate and publish.",
    ),
}
EXAMPLES = {
    "split": "example:\n  evaluate split --interactions='logs/*.parquet' --output=split\n",
    "evaluate": "example:\n  evaluate evaluate --model=cf=out/cf --interactions=split/train --holdout=split/holdout "
    "--output=out/report\n",
}
USAGE = "usage: evaluate {split,evaluate} FLAGS\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code: 0 done, 2 bad usage, 3 bad input, 4 refused, 1 anything else."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] in (["-h"], ["--help"]):
        print(USAGE)
        for name, (*_, purpose) in COMMANDS.items():
            print(f"  {name:9} {purpose}  (evaluate {name} --help)")
        return 0
    try:
        return run_main(lambda: _run(arguments))
    except SystemExit as end:  # argparse after --help, or after a value it does not take, which it has explained
        return end.code if isinstance(end.code, int) else 0


def _run(arguments: list[str]) -> str:
    if not arguments or arguments[0] not in COMMANDS:
        given = f"{arguments[0]} is no command" if arguments else "no command given"
        raise BadUsage(f"evaluate: {given}; use split or evaluate (see --help)")
    kind, check, settings, carry_out, purpose = COMMANDS[arguments[0]]
    flags = (InteractionOptions, kind)
    options = parse(arguments[1:], flags, f"evaluate {arguments[0]}", purpose, EXAMPLES[arguments[0]])
    problems = check(options.view_as(kind))
    if problems:
        raise BadUsage("\n".join(problems))
    new_pipeline = functools.partial(pipeline_for, options)
    return carry_out(settings(options), new_pipeline, lambda: time.time_ns() // 1000)
