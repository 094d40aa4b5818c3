"""Write lines to log files in the background: never block the caller, and count every line that is lost.

`write` puts a line into a queue in memory. A thread appends the queue to a file every second. The files are those of
`log_series`. Lines that a full disk or a missing folder keeps out of the files stay in the queue and are tried again.
When the queue is full, new lines are lost, and are counted by the reason.

A process that is killed loses the lines since the last flush. A machine that loses power loses what its kernel had not
written to the disk, because the files are not synced.
"""

from __future__ import annotations

import atexit
import collections
import dataclasses
import logging
import multiprocessing.util
import os
import threading
import weakref
from collections.abc import Callable, Mapping

from serving_client.contracts.times import wall_clock_us
from serving_client.router.log_series import LINES_AT_ONCE, LogKeep, LogSeries, fault_of

__all__ = ["LogCounts", "LogFiles"]

_LOG = logging.getLogger("serving_client.router")

_LINE_BYTES = 48
"""What a line takes in the queue beside its text."""
_EARLY = 8
"""The thread flushes early when a queue is filled to 1/8."""


@dataclasses.dataclass(frozen=True, slots=True)
class LogCounts:
    """Counts of a log since its process began, for metrics.

    Args:
        written: Lines that are in a file.
        queued: Lines that wait in memory.
        queued_bytes: Memory that they take.
        lost: Lines that were lost, by reason: "queue_full" if the disk is too slow, "closed" if they came after
            `close`, "not_flushed" if `close` timed out, or the fault that kept the queue from being written.
        faults: Failed attempts to write, by fault: folder_missing, disk_full, read_only, no_permission,
            file_too_large, io_error, no_thread. The faults of removing old files begin with "remove_".
        files: Files that were begun.
        removed: Old files that were removed.
    """

    written: int
    queued: int
    queued_bytes: int
    lost: Mapping[str, int]
    faults: Mapping[str, int]
    files: int
    removed: int


class LogFiles:
    """A log in files. Thread-safe.

    After a fork the child starts with an empty queue, a file and a thread of its own. The thread starts with the first
    line. At the end of the interpreter the queue is flushed. An application may call `close` before.

    Args:
        folder: Folder of the files. Created at the first line if it is missing.
        kind: First part of the file names, such as "decisions".
        max_queue_bytes: Memory that the queue may take.
        flush_interval_s: Time between two flushes in seconds.
        max_file_bytes: Size at which a new file begins.
        max_file_age_s: Age at which a new file begins, in seconds.
        keep: When old files of this kind are removed. None removes nothing.
        clock_us: Clock, microseconds since 1970.

    Raises:
        ValueError: `kind` has characters other than a-z and _, or a limit is not positive.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        kind: str,
        *,
        max_queue_bytes: int = 64 << 20,
        flush_interval_s: float = 1.0,
        max_file_bytes: int = 256 << 20,
        max_file_age_s: float = 600.0,
        keep: LogKeep | None = None,
        clock_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        limits = {
            "max_queue_bytes": max_queue_bytes,
            "flush_interval_s": flush_interval_s,
            "max_file_bytes": max_file_bytes,
            "max_file_age_s": max_file_age_s,
        }
        for name, limit in limits.items():
            if not limit > 0:
                raise ValueError(f"{name} must be greater than 0, not {limit}")
        self._folder, self._kind = os.fspath(folder), kind
        self._most_bytes, self._early_bytes = max_queue_bytes, max_queue_bytes // _EARLY
        self._interval_s = flush_interval_s
        self._series = LogSeries(
            folder,
            kind,
            clock_us=clock_us,
            most_bytes=max_file_bytes,
            most_age_us=round(max_file_age_s * 1e6),
            keep=keep,
        )
        self._closed = False
        self._reset()
        _OPEN.add(self)

    @property
    def keep(self) -> LogKeep | None:
        """When old files are removed. Set it again when the bandits file changes."""
        return self._series.keep

    @keep.setter
    def keep(self, keep: LogKeep | None) -> None:
        self._series.keep = keep

    def write(self, line: bytes) -> bool:
        """Enqueue a line. Never waits for the disk, and never raises.

        Args:
            line: Text that ends with LF and has no other LF.

        Returns:
            False if the line is lost. It is counted then.
        """
        size = len(line) + _LINE_BYTES
        with self._lock:
            if self._queued_bytes + size > self._most_bytes or self._closed:
                self._lost["closed" if self._closed else self._fault or "queue_full"] += 1
                return False
            self._queued_bytes += size
            self._queue.append(line)
            if self._thread is None:
                self._start_thread()
        if self._queued_bytes > self._early_bytes and not self._fault and not self._wake.is_set():
            self._wake.set()
        return True

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Write the queue to a file now, in the calling thread.

        Returns:
            Whether all lines that had been enqueued before are in a file. False also if the thread was writing and did
            not end in time.
        """
        if not self._writing.acquire(timeout=timeout_s):
            return False
        try:
            return self._write_queue()
        finally:
            self._writing.release()

    def close(self, timeout_s: float = 5.0) -> None:
        """Flush and end. Later lines are lost and counted. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            thread = self._thread
        self._wake.set()
        if thread is not None:
            thread.join(timeout_s)
        self.flush(timeout_s)
        with self._lock:
            left = len(self._queue)
            self._lost[self._fault or "not_flushed"] += left
            self._queue.clear()
            self._queued_bytes = 0
        if left:
            _LOG.error("%s: %s lines of %s were lost at the end", self._folder, f"{left:,}", self._kind)
        if self._writing.acquire(timeout=timeout_s):
            self._series.end_file()
            self._writing.release()
        _OPEN.discard(self)

    def counts(self) -> LogCounts:
        """Return the counts of this process."""
        with self._lock:
            return LogCounts(
                written=self._written,
                queued=len(self._queue),
                queued_bytes=self._queued_bytes,
                lost=dict(+self._lost),
                faults=dict(self._faults),
                files=self._series.files,
                removed=self._series.removed,
            )

    def _reset(self) -> None:
        self._lock = threading.RLock()  # guards queue and counts; held for microseconds
        self._writing = threading.Lock()  # guards the series; held during I/O
        self._wake = threading.Event()
        self._queue: collections.deque[bytes] = collections.deque()
        self._queued_bytes = self._written = self._told_lost = 0
        self._lost: collections.Counter[str] = collections.Counter()
        self._faults: collections.Counter[str] = collections.Counter()
        self._fault: str = ""
        self._thread: threading.Thread | None = None

    def _forked(self) -> None:
        self._reset()
        self._series.forked()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name=f"recbeam-log-{self._kind}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # too many threads, or the interpreter ends; `close` still flushes
            self._faults["no_thread"] += 1
            return
        self._thread = thread
        if multiprocessing.parent_process() is not None:  # a child of multiprocessing ends without atexit
            multiprocessing.util.Finalize(None, _close_all, exitpriority=0)

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait(self._interval_s)
            self._wake.clear()
            try:
                with self._writing:
                    self._write_queue()
            except Exception:
                _LOG.exception("%s: writing %s failed; please report this", self._folder, self._kind)

    def _write_queue(self) -> bool:
        """Append the queue to the series. Return whether nothing is left of what was in it."""
        files, left = self._series.files, len(self._queue)
        self._series.end_old_file()
        while left > 0:
            lines = [self._queue.popleft() for _ in range(min(left, LINES_AT_ONCE))]
            done, error = 0, None
            try:
                done, error = self._series.append(lines)
            finally:
                self._queue.extendleft(reversed(lines[done:]))
            with self._lock:
                self._written += done
                self._queued_bytes -= sum(map(len, lines[:done])) + _LINE_BYTES * done
            self._note_fault(error)
            if error is not None:
                break
            left -= done
        if self._series.files != files and (error := self._series.remove_old_files()) is not None:
            with self._lock:
                self._faults[f"remove_{fault_of(error)}"] += 1
        return left == 0

    def _note_fault(self, error: OSError | None) -> None:
        """Count a fault. Log it once per change, with the lines that were lost meanwhile."""
        fault = "" if error is None else fault_of(error)
        with self._lock:
            if fault:
                self._faults[fault] += 1
            before, self._fault = self._fault, fault
            lost = self._lost.total() - self._told_lost
            if not fault:
                self._told_lost += lost
        if fault and fault != before:
            _LOG.warning("%s: %s cannot be written (%s: %s)", self._folder, self._kind, fault, error)
        elif before and not fault:
            _LOG.warning("%s: %s are written again; %s lines were lost", self._folder, self._kind, f"{lost:,}")
        elif lost and not fault:
            _LOG.warning("%s: %s lines of %s were lost; the queue was full", self._folder, f"{lost:,}", self._kind)


_OPEN: weakref.WeakSet[LogFiles] = weakref.WeakSet()


def _close_all() -> None:
    for log in list(_OPEN):
        log.close()


def _forked() -> None:
    for log in list(_OPEN):
        log._forked()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forked)
