"""The command `recbeam serve`, also installed as `local-serving`: the command line around `server`.

    python -m local_serving --model_name=NAME --model_base_path=PATH

Exit codes:

    0  stopped by SIGTERM or SIGINT, after the requests in flight
    1  the server could not start, or requests or models were still in use 20 s after the signal
    2  bad usage
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence

from local_serving import flags as flags_
from local_serving.errors import StartError

__all__ = ["main"]

PROGRAM = "local-serving"
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(argv: Sequence[str] | None = None, drain_s: float | None = None, prog: str = PROGRAM) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        argv: The arguments. None means those of the process.
        drain_s: Seconds to wait for requests in flight, see `Server.stop`. None means the server's default.
        prog: Name of the command in usage and errors.

    Returns:
        The exit code, see the module.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if sys.stderr is None:
        print(f"{prog}: stderr is closed, and the log goes there; send it elsewhere (2>/dev/null)")
        return 1
    if {"--help", "-h", "--helpfull"} & set(arguments):
        return _printed(flags_.usage(prog), prog)
    try:
        flags = flags_.parse(arguments)
        if flags.version:
            return _printed(_versions(), prog)
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        if flags.ignored:
            names = ", ".join(f"--{name}" for name in flags.ignored)
            logging.getLogger(__name__).warning("no effect in local_serving: %s", names)
        return _serve(flags, drain_s)
    except StartError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return error.exit_code


def _serve(flags: flags_.Flags, drain_s: float | None) -> int:
    """Start the server in a thread, so that a signal is handled while models load."""
    # Block the signals before any thread starts, also NumPy's at its import. A thread that does not block them would
    # receive them between two calls of sigtimedwait, and the program would end with KeyboardInterrupt.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    failed: list[BaseException] = []
    try:
        from local_serving.server import DRAIN_S, Server

        server = Server(flags)

        def start() -> None:
            try:
                server.start()
            except BaseException as error:
                failed.append(error)
            else:
                print(f"listening: {server.listening()}", file=sys.stderr, flush=True)

        starting = threading.Thread(target=start, name="start", daemon=True)
        starting.start()
        got = None
        while not got and not failed:
            got = signal.sigtimedwait(SIGNALS, 0.1)
        if got:
            logging.getLogger(__name__).info("%s: stopping", signal.Signals(got.si_signo).name)
            done = server.stop(DRAIN_S if drain_s is None else drain_s)
            starting.join(1.0)
            if done and not starting.is_alive():
                return 0
            logging.getLogger(__name__).error("requests or models are still in use; ending without them")
            logging.shutdown()
            # A normal exit of the interpreter waits for every thread, also for native threads that compute.
            os._exit(1)
        raise failed[0]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _printed(text: str, prog: str) -> int:
    """Print the text; return 0, also if the reader has gone (`| head`), or 1 if stdout cannot be written."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        code = 0
    except OSError as error:
        print(f"{prog}: cannot write to stdout ({error.strerror}); send it elsewhere", file=sys.stderr)
        code = 1
    else:
        return 0
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the rest of the buffer must not fail again at exit
    return code


def _versions() -> str:
    def version(name: str) -> str:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return "not installed"

    return f"local_serving: {version('recbeam')}\nTensorFlow Library: {version('tensorflow')}"


if __name__ == "__main__":
    sys.exit(main())
