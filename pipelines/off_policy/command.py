"""The command line of off_policy: read the flags, run the pipeline, print a table and a closing sentence."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Sequence

from pipelines.off_policy.options import OffPolicyOptions, check, off_policy_settings
from pipelines.off_policy.run import run
from transforms.errors import BadUsage
from transforms.runs.command_line import parse, pipeline_for, run_main

__all__ = ["main"]

_EXAMPLE = """examples:
  %(prog)s --bandits=bandits.yaml --decisions='logs/decisions/*' --rewards='logs/rewards/*' \\
      --policy=arm:vae --output=out/always-vae
  %(prog)s ... --policy=next.yaml --snapshot=snapshots/home_row/41.json --output=out/next
"""
_COMMON = (
    "bandits", "decisions", "rewards", "policy", "output", "bandit", "snapshot", "min_ess", "cluster", "overwrite",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments. None means those of the process.

    Returns:
        The exit code: 0 done, 2 bad usage, 3 bad input, 4 refused, 1 anything else.
    """
    return run_main(lambda: _run(sys.argv[1:] if argv is None else argv))


def _run(argv: Sequence[str]) -> str:
    options = parse(
        argv,
        (OffPolicyOptions,),
        "recbeam off-policy",
        "Estimate what a policy would have earned, from the decisions and rewards of the policy that was live.",
        _EXAMPLE,
        _COMMON,
    )
    problems = check(options)
    if problems:
        raise BadUsage("\n".join(problems))
    return run(off_policy_settings(options), functools.partial(pipeline_for, options), lambda: time.time_ns() // 1000)
