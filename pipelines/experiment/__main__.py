"""The command `recbeam experiment`, also `python -m pipelines.experiment`. The module `command` defines it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from transforms.extras import run_command

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments. None means those of the process.

    Returns:
        The exit code: 0 done, 2 bad usage, 3 bad input, 4 refused, 1 anything else.
    """
    return run_command("pipelines.experiment.command", argv)


if __name__ == "__main__":
    sys.exit(main())
