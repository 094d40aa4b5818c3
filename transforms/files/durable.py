"""Local folders that outlive a crash: what is on disk before it is renamed into place, and one process at a time.

It knows nothing of models; object stores have neither renames nor locks and are `publish_bucket`'s business.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["fsync", "one_at_a_time", "sync_to_disk"]


@contextlib.contextmanager
def one_at_a_time(lock_file: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock that all processes of this machine see; a crash gives it back. `waiting` is called if one must wait.

    The file stays: to remove it would let two processes hold it.
    """
    with open(lock_file, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file closes
        yield


def sync_to_disk(folder: Path) -> None:
    """fsync everything in a folder: without it a power cut soon after the rename could leave it with empty files."""
    for place, _, files in os.walk(folder):
        for name in files:
            fsync(Path(place) / name)
        fsync(Path(place))


def fsync(path: Path) -> None:
    """Write a file, or a folder's list of names, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
