"""The command `python -m serving_client`, installed as `serving-client`: asks a model server from a terminal.

Results go to stdout; the last line of stderr is one sentence. Exit codes: 0 done; 2 bad usage; 3 the server does not
know what was asked for, or a file or an item cannot be used; 1 anything else, as a server that does not answer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from serving_client.commands import bench, recommend, status
from serving_client.commands.options import BadInput
from serving_client.errors import InvalidRequest, NotFound, NotSupported, ServingError

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
    options = _parser().parse_args(argv)
    try:
        code: int = COMMANDS[options.command][0].run(options)
        return code
    except tuple(kind for kind, _ in EXIT_CODES) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return next(code for kind, code in EXIT_CODES if isinstance(error, kind))
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
