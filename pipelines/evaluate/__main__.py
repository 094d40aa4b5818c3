"""The command `python -m pipelines.evaluate`, installed as `evaluate`: it checks that its extra is there, then runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from transforms.extras import MissingExtra, require

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 2 bad usage, 3 bad input, 4 refused, 1 anything else."""
    try:
        require("apache_beam", "pipelines")
    except MissingExtra as error:
        print(error, file=sys.stderr)
        return error.exit_code
    from pipelines.evaluate import command

    return command.main(argv)


if __name__ == "__main__":
    sys.exit(main())
