"""Append lines to a series of files in a folder: which file is written, when the next begins, which files go.

A file contains whole lines alone. If a write fails in the middle of a line, the line's beginning is cut off again. So a
reader that follows the file never sees two lines run into each other.

Files are named `<kind>-<host>-<pid>-<start>-<n>.jsonl`. `start` is the time at which the series began. No two processes
write one file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from serving_client.contracts.bandits import Bandits

__all__ = ["LINES_AT_ONCE", "Appended", "LogKeep", "LogSeries", "fault_of"]

LINES_AT_ONCE = 512
"""Most lines in one call of `append`. A system call takes at most 1,024 buffers (IOV_MAX)."""

_FAULTS = {
    errno.ENOENT: "folder_missing",
    errno.ENOTDIR: "folder_missing",
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EFBIG: "file_too_large",
    errno.EROFS: "read_only",
    errno.EACCES: "no_permission",
    errno.EPERM: "no_permission",
}


def fault_of(error: OSError) -> str:
    """Return the name under which an error is counted, for example "disk_full"."""
    return _FAULTS.get(error.errno or 0, "io_error")


@dataclasses.dataclass(frozen=True, slots=True)
class LogKeep:
    """How long files of a log are kept after their last line.

    Args:
        age_us: Age from which a file may be removed, microseconds.
        bandits: Bandits whose records the files contain. No file is removed before twice the longest window,
            allowed_lateness and max_future of a bandit are over, because a stream may still have to read it.
    """

    age_us: int
    bandits: Bandits

    @property
    def us(self) -> int:
        """Age from which files are removed, microseconds."""
        rules = [bandit.attribution for bandit in self.bandits.bandits.values()]
        return max([self.age_us, *(2 * (r.window_us + r.allowed_lateness_us + r.max_future_us) for r in rules)])


class Appended(NamedTuple):
    """What came of `append`.

    Args:
        lines: Lines at the beginning of the given ones that are whole in a file now.
        error: Why the others are not. None if all are.
    """

    lines: int
    error: OSError | None


class LogSeries:
    """The files of one process and kind. Not thread-safe.

    Args:
        folder: Folder of the files. Created if it is missing at the first line.
        kind: First part of the names, lower case letters and _.
        clock_us: Microseconds since 1970.
        most_bytes: Size at which a file ends.
        most_age_us: Age at which a file ends, microseconds.
        keep: When files of this kind are removed, of any process. None removes nothing.

    Raises:
        ValueError: `kind` has other characters, so that names would be ambiguous, or `folder` contains NUL.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        kind: str,
        *,
        clock_us: Callable[[], int],
        most_bytes: int,
        most_age_us: int,
        keep: LogKeep | None,
    ) -> None:
        if not re.fullmatch("[a-z_]+", kind, re.ASCII):
            raise ValueError(f"kind {kind!r} has characters other than a-z and _; rename it")
        if "\0" in os.fspath(folder):
            raise ValueError(f"folder {folder!r} contains NUL; correct the path")
        self.keep = keep
        self.files = 0
        self.removed = 0
        self._folder, self._kind, self._clock_us = os.fspath(folder), kind, clock_us
        self._most_bytes, self._most_age_us = most_bytes, most_age_us
        self._made_folder = False
        self._file: _File | None = None
        self._begin()

    def append(self, lines: Sequence[bytes]) -> Appended:
        """Append lines to the current file, or to the next one if that has its size or age.

        Args:
            lines: At most LINES_AT_ONCE lines. Each ends with LF.
        """
        size = sum(map(len, lines))
        try:
            file = self._current(size)
        except OSError as error:
            return Appended(0, error)
        written, stopped = _write_all(file.descriptor, lines, size)
        if stopped is None:
            file.size += size
            return Appended(len(lines), None)
        whole = whole_bytes = 0
        for line in lines:
            if whole_bytes + len(line) > written:
                break
            whole, whole_bytes = whole + 1, whole_bytes + len(line)
        file.size += whole_bytes
        is_clean = written == whole_bytes or _cut(file)
        if not is_clean or fault_of(stopped) != "disk_full":  # on a full disk a new file would not help
            self.end_file()
        return Appended(whole, stopped)

    def end_file(self) -> None:
        """Close the current file. The next line begins another one."""
        file, self._file = self._file, None
        status = None if file is None else file.status()
        if file is None or status is None:
            return
        with contextlib.suppress(OSError):
            if not file.size and not status.st_size and status.st_nlink:
                os.unlink(file.path)
        with contextlib.suppress(OSError):
            os.close(file.descriptor)

    def end_old_file(self) -> None:
        """Close the current file if it has its age."""
        if self._file is not None and self._is_old(self._file):
            self.end_file()

    def forked(self) -> None:
        """Begin a series of this process's own. The parent goes on with its file."""
        file, self._file = self._file, None
        if file is not None and file.status() is not None:
            with contextlib.suppress(OSError):
                os.close(file.descriptor)
        self._begin()

    def remove_old_files(self) -> OSError | None:
        """Remove files of this kind that are older than `keep`, and return the last error."""
        if self.keep is None:
            return None
        last_us = self._clock_us() - self.keep.us
        current = "" if self._file is None else os.path.basename(self._file.path)
        last_error: OSError | None = None
        try:
            for name in self._names():
                path = os.path.join(self._folder, name)
                try:
                    if name != current and os.lstat(path).st_mtime_ns // 1_000 < last_us:
                        os.unlink(path)
                        self.removed += 1
                except FileNotFoundError:  # another process was faster
                    continue
                except OSError as error:
                    last_error = error
        except OSError as error:
            last_error = error
        return last_error

    def _names(self) -> Iterator[str]:
        with os.scandir(self._folder) as entries:
            for entry in entries:
                is_file = entry.name.startswith(f"{self._kind}-") and entry.name.endswith(".jsonl")
                if is_file and entry.is_file(follow_symlinks=False):
                    yield entry.name

    def _begin(self) -> None:
        host = re.sub(r"[^A-Za-z0-9._]", "_", socket.gethostname()) or "host"
        now_us = self._clock_us()
        start = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now_us // 1_000_000)) + f"{now_us % 1_000_000:06}Z"
        self._prefix = f"{self._kind}-{host}-{os.getpid()}-{start}"
        self._number = 0

    def _current(self, size: int) -> _File:
        """Return the file to append `size` bytes to."""
        file = self._file
        if file is not None:
            too_large = file.size and file.size + size > self._most_bytes
            if too_large or self._is_old(file) or not file.is_intact():
                self.end_file()
                file = None
        return self._open() if file is None else file

    def _is_old(self, file: _File) -> bool:
        return not 0 <= self._clock_us() - file.opened_us < self._most_age_us  # a clock that was set back ends it too

    def _open(self) -> _File:
        if not self._made_folder:  # later a missing folder may be a disk that is not mounted
            os.makedirs(self._folder, exist_ok=True)
            self._made_folder = True
        while True:
            self._number += 1
            path = os.path.join(self._folder, f"{self._prefix}-{self._number}.jsonl")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            try:
                descriptor = os.open(path, flags, 0o644)
            except FileExistsError:
                continue
            except OSError:
                self._number -= 1
                raise
            status = os.fstat(descriptor)
            self._file = _File(path, descriptor, self._clock_us(), (status.st_dev, status.st_ino))
            self.files += 1
            return self._file


@dataclasses.dataclass(slots=True)
class _File:
    path: str
    descriptor: int
    opened_us: int
    inode: tuple[int, int]
    size: int = 0

    def status(self) -> os.stat_result | None:
        """Return the file's status, or None if the descriptor is another file's by now.

        A program that becomes a daemon closes every descriptor.
        """
        try:
            status = os.fstat(self.descriptor)
        except OSError:
            return None
        return status if (status.st_dev, status.st_ino) == self.inode else None

    def is_intact(self) -> bool:
        """Return whether nobody else closed, removed, cut or extended the file."""
        status = self.status()
        return status is not None and status.st_nlink > 0 and status.st_size == self.size


def _write_all(descriptor: int, lines: Sequence[bytes], size: int) -> tuple[int, OSError | None]:
    """Write lines, and return how many bytes were written and why not all."""
    written = 0
    try:
        written = os.writev(descriptor, lines)
        if written < size:  # a full disk takes a part. The rest then fails with the reason.
            data = memoryview(b"".join(lines))
            while written < size:
                written += os.write(descriptor, data[written:])
    except OSError as error:
        return written, error
    return size, None


def _cut(file: _File) -> bool:
    """Cut the beginning of a line off the end of a file. Return whether that succeeded."""
    try:
        os.ftruncate(file.descriptor, file.size)
    except OSError:
        return False
    return True
