"""A watched glob of files as a log: new files, growing ones, replaced ones, and names that have been read.

A file is its name. A growing one is read on from its last complete line; one that shrank, or whose first KiB changed,
is read again as new. Names are kept as long as the file is listed and for a while after, so that nothing is read twice;
of one that a checkpoint covers wholly nothing but its size is looked at.
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
from pipelines.reward_stream.sources.interface import Chunk, Position
from pipelines.reward_stream.sources.listing import Listed, list_files
from transforms.interactions.files import open_binary

__all__ = ["FileLog"]

_LOGGER = logging.getLogger(__name__)
_LISTING_SHARE = 20  # a listing that took 10 ms is made every 200 ms at most: 5% of the time
_HORIZON_PRECISION = 64  # so that what a checkpoint says of a file does not change with every listing

_order = attrgetter("order")


class FileLog:
    """The files that a glob names, in the order of (mtime when first seen, name).

    clock: microseconds since 1970. chunk_bytes: how much a chunk holds at most, unless one line is longer.
    horizon_us: how long the name of a vanished file is kept. list_every_us: how often is looked for new input.
    positions: where to begin; files that are not named begin at 0. files_reread: files that were read again as new.
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
        self._stuck = False  # something could not be read
        self._list_at_us: int | None = None
        self._inflated: tuple[str, Listed | None, bytes] | None = None
        self._complained: set[str] = set()

    def next(self) -> Chunk | None:
        """The next lines, or None if there are no whole lines now; looks for files if that is due."""
        now_us = self._clock()
        if self._list_at_us is None or now_us >= self._list_at_us:
            self._list(now_us)
        while self._queue:
            file = self._queue[0]
            try:
                chunk = self._read(file)
            except FileNotFoundError:
                self._lose(file)
                chunk = None
            except (OSError, EOFError, zlib.error) as error:
                self._complain(file.name, f"{file.name}: cannot be read ({error}); trying again")
                self._stuck = True
                chunk = None
            if not file.rereading and file.name in self._rereading:
                self._rereading.discard(file.name)  # its turn for what is new comes later
                self._queue = deque(sorted((each for each in self._queue if each.unread), key=_order))
            elif chunk is None or not file.unread:
                self._queue.popleft()
            if chunk is not None:
                self._complained.discard(file.name)
                return chunk
        return None

    def rest(self) -> Iterator[Chunk]:
        """Last lines without a line end; positions stay as they are."""
        for file in sorted(self._files.values(), key=_order):
            if file.listed is None or file.unread or (file.listed.size <= file.at and not file.compressed):
                continue
            with contextlib.suppress(FileNotFoundError), self._open(file) as stream:
                stream.seek(file.at)
                lines = stream.read()
                if lines.strip():
                    yield Chunk(file.name, file.at, file.at + len(lines), lines)

    @property
    def at_end(self) -> bool:
        """Whether all whole lines of all files listed last have been read."""
        return self._list_at_us is not None and not self._queue and not self._stuck

    @property
    def rereading(self) -> bool:
        """Whether there are chunks to come that were read before the restart."""
        return bool(self._rereading)

    def is_read(self, partition: str) -> bool:
        """Whether a file was read to where it ended last."""
        file = self._files.get(partition)
        return file is not None and not file.unread

    def positions(self) -> dict[str, Position]:
        """Where each file is."""
        return {name: file.position for name, file in self._files.items()}

    def expired(self) -> list[str]:
        """Names of files that vanished longer ago than the horizon."""
        oldest_us = self._clock() - self._horizon_us - self._horizon_us // _HORIZON_PRECISION
        return [file.name for file in self._files.values() if file.listed is None and file.listed_at_us < oldest_us]

    def forget(self, partition: str) -> None:
        """Remember nothing of a file; if it comes back it is new."""
        del self._files[partition]

    def _list(self, now_us: int) -> None:
        """Look for new, grown, replaced and vanished files, and put those with something to read in order."""
        first = self._list_at_us is None
        try:
            found = list_files(self._pattern)
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
        self._queue = deque(sorted((file for file in self._files.values() if file.unread), key=_order))
        self._stuck = False
        ended_us = self._clock()
        self._list_at_us = ended_us + max(self._list_every_us, _LISTING_SHARE * (ended_us - now_us))

    def _lose(self, file: FileState) -> None:
        """The file is not there; its name is kept."""
        file.listed, file.unread = None, False
        if file.rereading:
            self._complain(
                file.name,
                f"{file.name}: gone, and its last records were still open at the checkpoint; they are lost unless the "
                f"file comes back before the next start from the same checkpoint",
            )
            file.at = file.end
            self._rereading.discard(file.name)

    def _read(self, file: FileState) -> Chunk | None:
        """The next chunk of a file; None where there is no whole line, and then it is not `unread` any more."""
        with self._open(file) as stream:
            if file.compare and not file.is_same(stream):
                file.begin_anew()
                self.files_reread += 1
                return Chunk(file.name, 0, 0, b"", anew=True)
            file.compare = False
            lines, more = whole_lines(stream, file.at, self._chunk_bytes, file.end if file.rereading else None)
        if not lines:
            file.at_end()
            return None
        start = file.at
        again = file.take(lines, more)
        return Chunk(file.name, start, file.at, lines, again)

    @contextlib.contextmanager
    def _open(self, file: FileState) -> Iterator[BinaryIO]:
        """The file's text; a compressed one is read whole, and kept until another is."""
        if not file.compressed:
            with open_binary(file.name) as stream:
                yield stream
            return
        if self._inflated is None or self._inflated[:2] != (file.name, file.listed):
            with open_binary(file.name) as stream:
                self._inflated = (file.name, file.listed, gzip.decompress(stream.read()))
        yield io.BytesIO(self._inflated[2])

    def _complain(self, about: str, sentence: str) -> None:
        """Once, until it is well again."""
        if about not in self._complained:
            self._complained.add(about)
            _LOGGER.warning(sentence)
