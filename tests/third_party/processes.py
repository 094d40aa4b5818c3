"""A server as a subprocess: started, waited for, stopped, its log kept for the report of a test that fails."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence

logs: list[pathlib.Path] = []
"""Of the servers that run now; conftest adds them to the report of a test that fails."""

POLL_S = 0.05
STOP_S = 20.0
TAIL_CHARACTERS = 4000


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def tail(log: pathlib.Path) -> str:
    return log.read_text(errors="replace")[-TAIL_CHARACTERS:]


@contextlib.contextmanager
def running(
    command: Sequence[str],
    log: pathlib.Path,
    is_ready: Callable[[], bool],
    *,
    cwd: pathlib.Path,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 60.0,
) -> Iterator[None]:
    """Runs the command while the caller is inside; fails with the log if it is not ready in time or ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
    logs.append(log)
    try:
        deadline = time.monotonic() + timeout_s
        while not is_ready():
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}:\n{tail(log)}"
            assert time.monotonic() < deadline, f"{command[0]} is not ready after {timeout_s:g} s:\n{tail(log)}"
            time.sleep(POLL_S)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        logs.remove(log)


def accepts(port: int) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def is_ok(url: str) -> bool:
    """Whether it answers with a success."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2.0) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
