"""The command `recbeam ask`, also installed as `serving-client`: ask a model server from a terminal.

Results go to stdout. The last line of stderr is one sentence. Exit codes:

    0  done
    2  bad usage
    3  the server does not have the model or version, or a file or an item is invalid
    1  anything else, for example a server that does not answer, or a closed output
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence

try:
    from recbeam.arguments import EXIT_CODES, Parser
    from serving_client.commands import bench, recommend, status
    from serving_client.commands.options import BadInput
    from serving_client.errors import InvalidRequest, NotFound, NotSupported, ServingError
except KeyboardInterrupt:  # the imports take longer than most calls
    sys.exit("stopped")

__all__ = ["main"]

CODE_OF_ERROR: tuple[tuple[type[Exception], int], ...] = (
    (BadInput, 3),
    (NotFound, 3),
    (InvalidRequest, 3),
    (NotSupported, 3),
    (ServingError, 1),
)
"""Exit code per error class. The first class that matches decides."""
COMMANDS = {
    "recommend": (recommend, "print a model's recommendations for a list of items"),
    "status": (status, "print the versions of a model that the servers hold, with their states"),
    "bench": (bench, "measure recommendations per second and their latency"),
}


def main(argv: Sequence[str] | None = None, prog: str = "serving-client") -> int:
    """Run the command.

    Args:
        argv: The arguments. None means those of the process.
        prog: Name of the command in usage and errors.

    Returns:
        The exit code, see the module.

    Raises:
        SystemExit: The command line is invalid (code 2), or `--help` is given (code 0).
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may lack letters of a title
    try:
        try:
            options = _parser(prog).parse_args(argv)
            code: int = COMMANDS[options.command][0].run(options)
            return code
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, so that a failure is reported below
    except tuple(kind for kind, _ in CODE_OF_ERROR) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return next(code for kind, code in CODE_OF_ERROR if isinstance(error, kind))
    except OSError as error:
        with contextlib.suppress(OSError):  # the rest of the buffer must not fail again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"the output cannot be written ({error.strerror})", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 1


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = Parser(
        prog=prog,
        description="Ask a model server that offers TensorFlow Serving's gRPC API.",
        epilog=f"{prog} COMMAND --help shows the flags of a command.\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, sentence) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=sentence,
            description=f"{sentence[0].upper()}{sentence[1:]}.",
            epilog=f"{module.EXAMPLE}\n\n{EXIT_CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_to(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
