"""Build what is expensive once per test run, and share it between the workers of pytest-xdist.

A module's tests run on several workers, and each worker makes the module's fixtures. A fixture that takes seconds calls
`build_once`: the first worker builds, the others wait and read.
"""

from __future__ import annotations

import fcntl
import pathlib
import pickle
import shutil
from collections.abc import Callable
from typing import TypeVar

import pytest

__all__ = ["build_once"]

T = TypeVar("T")


def build_once(factory: pytest.TempPathFactory, name: str, build: Callable[[pathlib.Path], T]) -> T:
    """Return what `build` returned, in this worker or in another one.

    Args:
        factory: tmp_path_factory of the fixture.
        name: Name of the folder, unique in the test run.
        build: Fills an empty folder, and returns a value that can be pickled. Nobody changes the folder later.
    """
    base = factory.getbasetemp()
    root = base.parent if base.name.startswith("popen-") else base  # a worker's folder is below that of the run
    shared = root / "shared" / name
    shared.parent.mkdir(exist_ok=True)
    with open(f"{shared}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # closing the file releases the lock
        done = shared.parent / f"{name}.pickle"
        if not done.exists():
            shutil.rmtree(shared, ignore_errors=True)  # of a build that failed
            shared.mkdir()
            done.write_bytes(pickle.dumps(build(shared)))
        found: T = pickle.loads(done.read_bytes())
    return found
