"""Write local folders that survive a crash, and lock a folder for one process at a time.

Files reach the disk before they are renamed into place. This module is for local disks only. Object stores have
neither renames nor locks; `transforms.models.publish_bucket` handles them.
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
    """Hold a lock that every process of this machine respects. The system releases the lock if the process dies.

    The lock file stays on disk. Removing it would let two processes hold the lock at once.

    Args:
        lock_file: File to lock; created if it does not exist.
        waiting: Called once if another process holds the lock.
    """
    with open(lock_file, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file closes
        yield


def sync_to_disk(folder: Path) -> None:
    """Write every file and folder below `folder` to disk.

    Call this before renaming the folder into place. Otherwise a power cut soon after the rename can leave empty files.
    """
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
