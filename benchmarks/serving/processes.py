"""Start and stop servers in their own processes, and restart them on the same port.

`echo` answers at once and starts in half a second. `local_serving` serves the test models and starts TensorFlow.
"""

from __future__ import annotations

import collections
import os
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import grpc

from benchmarks.serving import echo

__all__ = ["ServerProcess", "echo_server", "export_models", "local_server"]

ROOT = Path(__file__).resolve().parents[2]
START_S, STOP_S = 120.0, 60.0
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
_LISTENING = re.compile(r"listening: grpc [^ ]*:(\d+)")


class ServerProcess:
    """A server program that takes --port and says `listening: grpc HOST:PORT`; a context manager that stops it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = [sys.executable, "-m", *command]
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def target(self) -> str:
        """HOST:PORT, the same after a restart."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Returns when it listens. Raises RuntimeError, with what it said last, if it ends before."""
        process = subprocess.Popen(
            [*self._command, f"--port={self._port}"], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
        )
        self._process = process
        said: collections.deque[str] = collections.deque(maxlen=20)
        listening = threading.Event()

        def read() -> None:
            for line in process.stderr or ():
                said.append(line)
                found = _LISTENING.search(line)
                if found:
                    self._port = int(found[1])
                    listening.set()
            listening.set()

        threading.Thread(target=read, daemon=True).start()
        if not listening.wait(START_S) or process.poll() is not None or not self._port:
            self.stop()
            raise RuntimeError(f"{' '.join(self._command)} does not listen; it said:\n{''.join(said)}")

    def stop(self) -> None:
        """SIGTERM, then waits for its end."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """On the same port; returns when it listens again."""
        self.stop()
        self.start()

    def delay(self, seconds: float) -> None:
        """Makes an echo server take so much longer for every later answer."""
        with grpc.insecure_channel(self.target) as channel:
            channel.unary_unary(echo.DELAY)(str(seconds).encode(), timeout=10.0)


def echo_server(*flags: str) -> ServerProcess:
    """See `echo` for the flags."""
    return ServerProcess(["benchmarks.serving.echo", *flags])


def export_models(directory: Path) -> Path:
    """The base path of `contract` of tests/serving/models.py; in a process of its own, for TensorFlow stays there."""
    code = f"from tests.serving import models; models.export_models({str(directory)!r})"
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=True, capture_output=True)
    return directory / "contract"


def local_server(base: Path, poll_s: float) -> ServerProcess:
    """local_serving with the model `contract`; poll_s: between two looks for new versions."""
    flags = ["--model_name=contract", f"--model_base_path={base}", f"--file_system_poll_wait_seconds={poll_s}"]
    return ServerProcess(["local_serving", *flags])
