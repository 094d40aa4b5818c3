"""`python -m local_serving --model_name=NAME --model_base_path=PATH`: the command line around `server`.

Exit codes: 0 stopped by SIGTERM or SIGINT after the requests in flight, 1 it could not start, 2 wrong flags.
"""

from __future__ import annotations

import importlib.metadata
import logging
import signal
import sys
import threading
from collections.abc import Sequence

from local_serving import flags as flags_
from local_serving.errors import StartError, UsageError

__all__ = ["main"]

PROGRAM = "local-serving"
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until a signal comes; the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if {"--help", "-h", "--helpfull"} & set(arguments):
        print(flags_.usage(PROGRAM))
        return 0
    try:
        flags = flags_.parse(arguments)
        if flags.version:
            print(_versions())
            return 0
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        if flags.ignored:
            names = ", ".join(f"--{name}" for name in flags.ignored)
            logging.getLogger(__name__).warning("without effect in local_serving: %s", names)
        return _serve(flags)
    except UsageError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return error.exit_code
    except StartError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return error.exit_code


def _serve(flags: flags_.Flags) -> int:
    """Starts in a thread of its own, so that a signal is heard while models load."""
    from local_serving.server import Server

    # Blocked before any thread begins, so that none but sigtimedwait below takes them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    failed: list[BaseException] = []
    server = Server(flags)

    def start() -> None:
        try:
            server.start()
        except BaseException as error:
            failed.append(error)
        else:
            print(f"listening: {server.listening()}", file=sys.stderr, flush=True)

    starting = threading.Thread(target=start, name="start", daemon=True)
    try:
        starting.start()
        got = None
        while not got and not failed:
            got = signal.sigtimedwait(SIGNALS, 0.1)
        if got:
            logging.getLogger(__name__).info("%s: stopping", signal.Signals(got.si_signo).name)
            server.stop()
            starting.join()
            return 0
        raise failed[0]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _versions() -> str:
    def version(name: str) -> str:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return "not installed"

    return f"local_serving: {version('recbeam')}\nTensorFlow Library: {version('tensorflow')}"


if __name__ == "__main__":
    sys.exit(main())
