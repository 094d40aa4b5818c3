"""The command `python -m serving_client`, installed as `serving-client`: asks a model server from a terminal.

Results go to stdout; the last line of stderr is one sentence. Exit codes: 0 done; 2 bad usage; 3 the server does not
know what was asked for, or a file or an item cannot be used; 1 anything else, as a server that does not answer, or
output that nobody takes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence

try:
    from serving_client.commands import bench, recommend, status
    from serving_client.commands.options import BadInput
    from serving_client.errors import InvalidRequest, NotFound, NotSupported, ServingError
except KeyboardInterrupt:  # the imports take longer than most calls
    sys.exit("stopped")

__all__ = ["main"]

EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (BadInput, 3),
    (NotFound, 3),
    (InvalidRequest, 3),
    (NotSupported, 3),
    (ServingError, 1),
)
"""The first class that fits counts."""
COMMANDS = {
    "recommend": (recommend, "print what a model recommends for a list of items"),
    "status": (status, "print which versions of a model the servers hold, and in which state"),
    "bench": (bench, "measure recommendations a second and their latency"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code, see above. A command line that cannot be read exits 2 by SystemExit."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # titles in a terminal that has no such letters
    try:
        try:
            options = _parser().parse_args(argv)
            code: int = COMMANDS[options.command][0].run(options)
            return code
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where its failure has a name
    except tuple(kind for kind, _ in EXIT_CODES) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return next(code for kind, code in EXIT_CODES if isinstance(error, kind))
    except OSError as error:
        with contextlib.suppress(OSError):  # what is left in the buffer shall not fail again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"the output cannot be written ({error.strerror})", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="serving-client", description="Asks a model server that speaks TensorFlow Serving's gRPC API."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, sentence) in COMMANDS.items():
        what = f"{sentence[0].upper()}{sentence[1:]}."
        command = commands.add_parser(name, help=sentence, description=what, epilog=module.EXAMPLE)
        module.add_to(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
