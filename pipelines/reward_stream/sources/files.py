"""Read a watched glob of files as a log.

The glob may gain new files, files that grow and files that are replaced. A file is identified by its name. A file that
grows is read on from its last complete line. A file that shrank, or whose first KiB changed, is read again as new.

Names are kept while the file is listed and for a while after, so that nothing is read twice. For a file that a
checkpoint covers completely, only the size is checked.

A file that cannot be read is tried three times within about 10 s. Then it is set aside until it changes, so that it
does not delay work that waits for the end of the input.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import logging
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import BinaryIO

from pipelines.reward_stream.sources.file_state import FileState, whole_lines
from pipelines.reward_stream.sources.interface import LineChunk, Position
from pipelines.reward_stream.sources.listing import Listed, list_files
from transforms.interactions.files import describe, open_binary

__all__ = ["FileLog"]

_LOGGER = logging.getLogger(__name__)
_LISTING_SHARE = 20  # a listing that took 10 ms is made every 200 ms at most: 5% of the time
_HORIZON_PRECISION = 64  # so that a file's checkpoint does not change with every listing

_REREAD_PAUSE_US = 5_000_000
_UNREADABLE = (OSError, EOFError, zlib.error)

_order = attrgetter("order")


class FileLog:
    """Read the files of a glob, ordered by modification time when first listed, then by name.

    `files_reread` counts the files that were read again as new.

    Args:
        pattern: The glob.
        clock: Returns microseconds since 1970.
        chunk_bytes: Most bytes in a chunk. A longer line is a chunk of its own.
        horizon_us: How long the name of a vanished file is kept, microseconds.
        list_every_us: Least time between two listings, microseconds.
        positions: Where to begin, by file name. Other files begin at 0.
    """

    def __init__(
        self,
        pattern: str,
        clock: Callable[[], int],
        chunk_bytes: int,
        horizon_us: int,
        list_every_us: int,
        positions: Mapping[str, Position] | None = None,
    ) -> None:
        self.files_reread = 0
        self._pattern = pattern
        self._clock = clock
        self._chunk_bytes = chunk_bytes
        self._horizon_us = horizon_us
        self._list_every_us = list_every_us
        self._files = {name: FileState.resumed(name, position) for name, position in (positions or {}).items()}
        self._rereading = {file.name for file in self._files.values() if file.rereading}
        self._queue: deque[FileState] = deque()  # with something to read, in order
        self._retry_at_us: dict[str, int] = {}  # of files that could not be read
        self._list_at_us: int | None = None
        self._inflated: tuple[str, Listed | None, bytes] | None = None
        self._complained: set[str] = set()

    def next(self) -> LineChunk | None:
        """Return the next lines, listing the files first if a listing is due.

        Returns:
            The lines. None if there are no whole lines now.
        """
        now_us = self._clock()
        if self._list_at_us is None or now_us >= self._list_at_us:
            self._list(now_us)
        self._retry(now_us)
        while self._queue:
            file = self._queue[0]
            if not file.rereading and not self._rereading.isdisjoint(self._retry_at_us):
                return None  # re-read chunks come first
            try:
                chunk = self._read(file)
                file.failures = 0
            except FileNotFoundError:
                self._lose(file)
                chunk = None
            except _UNREADABLE as error:
                self._fail(file, error, now_us)
                chunk = None
            if not file.rereading and file.name in self._rereading:
                self._rereading.discard(file.name)  # its new lines are read later, in order
                self._queue = deque(sorted((each for each in self._queue if each.unread), key=_order))
            elif chunk is None or not file.unread:
                self._queue.popleft()
            if chunk is not None:
                self._complained.discard(file.name)
                return chunk
        return None

    def rest(self) -> Iterator[LineChunk]:
        """Yield last lines that have no line end. Positions do not change."""
        for file in sorted(self._files.values(), key=_order):
            if (
                file.listed is None
                or file.unread
                or file.set_aside
                or (file.listed.size <= file.at and not file.compressed)
            ):
                continue
            try:
                with self._open(file) as stream:
                    stream.seek(file.at)
                    lines = stream.read()
            except FileNotFoundError:
                continue
            except _UNREADABLE as error:
                self._complain(
                    file.name,
                    f"{file.name}: its last line, which has no end yet, cannot be read ({describe(error)}); repair the "
                    f"file before the next start",
                )
                continue
            if lines.strip():
                yield LineChunk(file.name, file.at, file.at + len(lines), lines)

    @property
    def at_end(self) -> bool:
        """Return whether all whole lines of all listed files have been read. Files that are set aside do not count."""
        return self._list_at_us is not None and not self._queue and not self._retry_at_us

    @property
    def unreadable(self) -> int:
        """Return how many files are set aside."""
        return sum(file.set_aside for file in self._files.values())

    @property
    def rereading(self) -> bool:
        """Return whether chunks that were read before the restart are still to come."""
        return bool(self._rereading)

    def is_read(self, partition: str) -> bool:
        """Return whether a file was read to its last known end."""
        file = self._files.get(partition)
        return file is not None and not file.unread and not file.set_aside

    def positions(self) -> dict[str, Position]:
        """Return the position of each file."""
        return {name: file.position for name, file in self._files.items()}

    def expired(self) -> list[str]:
        """Return the names of files that vanished longer ago than the horizon."""
        oldest_us = self._clock() - self._horizon_us - self._horizon_us // _HORIZON_PRECISION
        return [file.name for file in self._files.values() if file.listed is None and file.listed_at_us < oldest_us]

    def forget(self, partition: str) -> None:
        """Forget a file. If it returns, it is read as new."""
        del self._files[partition]

    def _list(self, now_us: int) -> None:
        """Look for new, grown, replaced and vanished files, and put those with something to read in order."""
        first = self._list_at_us is None
        try:
            found = list_files(self._pattern, self._complain)
        except Exception as error:  # object stores' clients raise types of their own, and may answer next time
            self._complain(self._pattern, f"{self._pattern}: cannot be listed ({error}); trying again")
            return
        self._complained.discard(self._pattern)
        for name, listed in found.items():
            file = self._files.get(name)
            if file is None:
                file = self._files[name] = FileState(name)
            file.see(listed, now_us, self._horizon_us // _HORIZON_PRECISION)
        for file in self._files.values():
            if file.name not in found and (file.listed is not None or first):
                self._lose(file)
        unread = (file for file in self._files.values() if file.unread and file.name not in self._retry_at_us)
        self._queue = deque(sorted(unread, key=_order))
        ended_us = self._clock()
        self._list_at_us = ended_us + max(self._list_every_us, _LISTING_SHARE * (ended_us - now_us))

    def _lose(self, file: FileState) -> None:
        """Note that the file is missing, and keep its name."""
        file.listed, file.unread, file.failures = None, False, 0
        self._retry_at_us.pop(file.name, None)
        if file.rereading:
            self._complain(
                file.name,
                f"{file.name}: gone, and its last records were still open at the checkpoint; they are lost unless the "
                f"file comes back before the next start from the same checkpoint",
            )
            file.at = file.end
            self._rereading.discard(file.name)

    def _fail(self, file: FileState, error: Exception, now_us: int) -> None:
        """Schedule another attempt for a file that could not be read, or set it aside.

        A file that is read again after a restart is never set aside: skipping it would lose records that were read
        once.
        """
        if file.rereading:
            self._retry_at_us[file.name] = now_us + _REREAD_PAUSE_US
            self._complain(
                file.name,
                f"{file.name}: cannot be read ({describe(error)}), and its last records were still open at the "
                f"checkpoint; trying again; to go on without them remove the file",
            )
            return
        retry_at_us = file.fail(now_us)
        if retry_at_us is not None:
            self._retry_at_us[file.name] = retry_at_us
            return
        self._complain(
            file.name,
            f"{file.name}: set aside, since it cannot be read ({describe(error)}); replace it under another name "
            f"or repair it; it is tried again when its size or time of change is another",
        )

    def _retry(self, now_us: int) -> None:
        """Put files whose next try is due back in order."""
        due = [name for name, at_us in self._retry_at_us.items() if now_us >= at_us]
        for name in due:
            del self._retry_at_us[name]
            self._queue.append(self._files[name])
        if due:
            self._queue = deque(sorted(self._queue, key=_order))

    def _read(self, file: FileState) -> LineChunk | None:
        """Read the next chunk of a file. Return None and clear `unread` if there is no whole line."""
        with self._open(file) as stream:
            if file.compare and not file.is_same(stream):
                file.begin_anew()
                self.files_reread += 1
                return LineChunk(file.name, 0, 0, b"", anew=True)
            file.compare = False
            lines, more = whole_lines(stream, file.at, self._chunk_bytes, file.end if file.rereading else None)
        if not lines:
            file.at_end()
            return None
        start = file.at
        again = file.take(lines, more)
        return LineChunk(file.name, start, file.at, lines, again)

    @contextlib.contextmanager
    def _open(self, file: FileState) -> Iterator[BinaryIO]:
        """Open the file's text. A compressed file is read whole and cached until another one is opened."""
        if not file.compressed:
            with open_binary(file.name) as stream:
                yield stream
            return
        if self._inflated is None or self._inflated[:2] != (file.name, file.listed):
            with open_binary(file.name) as stream:
                self._inflated = (file.name, file.listed, gzip.decompress(stream.read()))
        yield io.BytesIO(self._inflated[2])

    def _complain(self, about: str, sentence: str) -> None:
        """Log a warning once, until the problem is gone."""
        if about not in self._complained:
            self._complained.add(about)
            _LOGGER.warning(sentence)
