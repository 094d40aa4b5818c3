"""Installs what the tests of this folder run against: python -m tests.third_party.install

Safe to repeat (what is whole stays) and to interrupt (what is not whole is made anew). Packages come from PyPI, the
Go module proxy and Debian by pip, go and apt-get. A part that cannot be installed is named on stderr; the exit code is
1 then under CI=true, and 0 elsewhere, where its tests are skipped. 1 everywhere if another install is under way.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator, Mapping

from tests.third_party.environments import (
    DEBIAN_TOOLS,
    PEERS,
    PYTHON_PEERS,
    DebianTool,
    GoTool,
    fingerprint,
    go_tools,
    is_whole,
    requirements,
    stamp,
)
from tools.alive import EVERY_S

WORKERS = 2
"""pip waits for the network and unpacks, go compiles: two at a time take two thirds of the time of one by one."""


def main() -> int:
    PEERS.mkdir(exist_ok=True)
    with _alone():
        missing: dict[str, Callable[[], None]] = {}
        if shutil.which("go") is None:
            failed = list(go_tools())
            print(f"Go is not installed; the tests that need {', '.join(failed)} cannot run", file=sys.stderr)
        else:
            failed = []
            missing |= {name: _go_task(tool) for name, tool in go_tools().items() if not tool.is_whole()}
        missing |= {name: _python_task(name) for name in PYTHON_PEERS if not is_whole(name)}
        missing |= {tool.name: _debian_task(tool) for tool in DEBIAN_TOOLS if not tool.path.exists()}
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            futures = {pool.submit(_timed, name, install): name for name, install in missing.items()}
            for future in _as_completed(futures):
                name, error = futures[future], future.exception()
                if isinstance(error, FileNotFoundError):
                    failed.append(name)
                    print(f"{name} could not be installed: {error.filename} is not there", file=sys.stderr)
                elif isinstance(error, subprocess.CalledProcessError):
                    failed.append(name)
                    said = "\n".join(str(error.stderr or error.stdout or "").splitlines()[-20:])
                    print(f"{name} could not be installed: exit code {error.returncode}\n{said}", file=sys.stderr)
                elif error is not None:
                    raise error
    return 1 if failed and os.environ.get("CI") == "true" else 0


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    with (PEERS / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"{PEERS}: another install is under way; wait for it to end") from None
        yield


def _as_completed(
    futures: Mapping[concurrent.futures.Future[None], str], every_s: float = EVERY_S
) -> Iterator[concurrent.futures.Future[None]]:
    """Yield the futures as they end; print what is left at least every `every_s` seconds."""
    started, left = time.monotonic(), set(futures)
    while left:
        ended, left = concurrent.futures.wait(left, every_s, concurrent.futures.FIRST_COMPLETED)
        if not ended:
            names = ", ".join(sorted(futures[future] for future in left))
            print(f"  {time.monotonic() - started:.0f} s, still to install: {names}", flush=True)
        yield from ended


def _timed(name: str, install: Callable[[], None]) -> None:
    started = time.monotonic()
    install()
    print(f"{name}: installed in {time.monotonic() - started:.0f} s", flush=True)


def _python_task(name: str) -> Callable[[], None]:
    def install() -> None:
        folder = PEERS / name
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, symlinks=True, with_pip=False)
        # The lists are complete: --no-deps keeps pip from choosing anything by itself.
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "-q", "--no-input"]
        _run([*pip, "--disable-pip-version-check", "--no-deps", "-r", str(requirements(name))])
        stamp(name).write_text(fingerprint(name))

    return install


def _go_task(tool: GoTool) -> Callable[[], None]:
    def install() -> None:
        work = PEERS / "build" / tool.name
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        _run(["go", "install", f"{tool.package}@{tool.version}"], GOBIN=str(work))
        (built,) = work.iterdir()
        tool.path.parent.mkdir(exist_ok=True)
        built.replace(tool.path)  # whole or not there; go names a program after its folder

    return install


def _debian_task(tool: DebianTool) -> Callable[[], None]:
    def install() -> None:
        work = PEERS / "build" / tool.package
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        download = ["apt-get", "download", "-q", tool.package]
        try:
            _run(download, work)
        except subprocess.CalledProcessError:  # a fresh machine has no package lists; to fetch them takes root
            _run(["apt-get", "update", "-q"])
            _run(download, work)
        (package,) = work.glob("*.deb")
        _run(["dpkg-deb", "--extract", str(package), str(work / "unpacked")])
        place = PEERS / "debian" / tool.package
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(exist_ok=True)
        (work / "unpacked").replace(place)  # whole or not there
        shutil.rmtree(work)

    return install


def _run(command: list[str], folder: pathlib.Path | None = None, **environment: str) -> None:
    subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=True)


if __name__ == "__main__":
    sys.exit(main())
