"""Track one file of a log: how far it was read and how to recognise it. Also take whole lines from a file.

Positions in a compressed file are positions in its uncompressed text.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from typing import BinaryIO

from pipelines.reward_stream.sources.interface import Position
from pipelines.reward_stream.sources.listing import Listed

__all__ = ["FileState", "whole_lines"]

_HEAD_BYTES = 1024
_PAUSES_US = (2_000_000, 6_000_000)  # before the second and the third try to read a file


@dataclasses.dataclass(slots=True)
class FileState:
    """Hold the state of one file.

    Args:
        name: Name of the file.
        at: Position of the next line to read. It equals `end` unless the file is being read again.
        end: Position up to which the file has been read.
        head: LENGTH:DIGEST of the first bytes that were read, at most _HEAD_BYTES of them.
        prefix: Those first bytes. None if only their digest is available.
        listed_at_us: When a listing last contained the file, microseconds.
        listed: Size and modification time in the last listing. None while the file is missing.
        first_us: Modification time when the file was first listed, microseconds.
        unread: Whether there may be lines to read.
        compare: Whether the beginning must be compared before reading on.
        read_size: Size on disk of a compressed file when it was read to its end. Otherwise -1.
        failures: Failed attempts to read the file since the last success.
    """

    name: str
    at: int = 0
    end: int = 0
    head: str = ""
    prefix: bytes | None = b""
    listed_at_us: int = 0
    listed: Listed | None = None
    first_us: int = 0
    unread: bool = True
    compare: bool = False
    read_size: int = -1
    failures: int = 0

    @classmethod
    def resumed(cls, name: str, position: Position) -> FileState:
        """Return the state of a file at a saved position.

        Args:
            name: Name of the file.
            position: Value of the property `position`.

        Returns:
            The state.
        """
        length, digest, size = [*position.head.split(":"), "", "", ""][:3]
        head, prefix = (f"{length}:{digest}", None) if length else ("", b"")
        file = cls(name, position.at, position.end, head, prefix, position.listed_at_us)
        file.read_size = int(size) if size else -1
        return file

    @property
    def position(self) -> Position:
        """Return the position to save. For a compressed file that was read to its end, `head` includes its size."""
        head = f"{self.head}:{self.read_size}" if self.read_size >= 0 else self.head
        return Position(self.at, self.end, head, self.listed_at_us)

    @property
    def rereading(self) -> bool:
        """Return whether the file was read further before the restart."""
        return self.at < self.end

    @property
    def set_aside(self) -> bool:
        """Return whether the file could not be read and is skipped until it changes."""
        return self.failures > len(_PAUSES_US)

    @property
    def compressed(self) -> bool:
        """Return whether the file is compressed with gzip."""
        return self.name.endswith(".gz")

    @property
    def order(self) -> tuple[bool, int, str]:
        """Return the sort key of the reading order. Files to read again after a restart come first."""
        return not self.rereading, self.first_us, self.name

    def see(self, listed: Listed, now_us: int, precision_us: int) -> None:
        """Note that a listing contains the file.

        Args:
            listed: Size and modification time in the listing.
            now_us: The clock, microseconds.
            precision_us: How exact `listed_at_us` must be, microseconds.
        """
        if now_us - self.listed_at_us > precision_us or self.listed is None:
            self.listed_at_us = now_us
        if self.listed == listed:
            return
        if self.listed is None:  # new, or known from before the start, or back again
            self.first_us = self.first_us or listed.mtime_us
            known = self.read_size if self.compressed else self.end
            self.unread = self.rereading or listed.size != known
        else:
            self.unread = True
        self.compare = self.unread and self.end > 0
        self.listed = listed

    def is_same(self, stream: BinaryIO) -> bool:
        """Return whether the file still begins with the text that was read.

        The check compares the length and the first bytes.

        Args:
            stream: The uncompressed text.

        Returns:
            False if the file is shorter now or begins with other bytes.
        """
        length = int(self.head.partition(":")[0] or 0)
        stream.seek(0)
        prefix = stream.read(length)
        if (length and _digest(prefix) != self.head) or stream.seek(0, io.SEEK_END) < self.end:
            return False
        self.prefix = prefix
        return True

    def begin_anew(self) -> None:
        """Reset the state, since the name holds a different file now."""
        self.at = self.end = 0
        self.head, self.prefix, self.read_size, self.compare = "", b"", -1, False

    def take(self, lines: bytes, more: bool) -> bool:
        """Note that lines were read.

        Args:
            lines: The lines.
            more: Whether the file may have further lines.

        Returns:
            Whether the lines had been read before the restart.
        """
        if self.prefix is not None and len(self.prefix) == self.at < _HEAD_BYTES:
            self.prefix = (self.prefix + lines)[:_HEAD_BYTES]
            self.head = _digest(self.prefix)
        again = self.rereading
        self.at += len(lines)
        if not again:
            self.end = self.at
            self.unread = more
            if not more:
                self._note_size()
        return again

    def at_end(self) -> None:
        """Note that the file has no further whole line.

        A file that was to be read again is shorter now. The next listing detects this.
        """
        self.at = self.end
        self.unread = False
        self._note_size()

    def fail(self, now_us: int) -> int | None:
        """Note that the file could not be read.

        A file that was set aside is tried once per change, so that a file that changes constantly does not delay
        others.

        Args:
            now_us: The clock, microseconds.

        Returns:
            When to try again, microseconds. None if the file is set aside until it changes.
        """
        self.failures += 1
        if not self.set_aside:
            return now_us + _PAUSES_US[self.failures - 1]
        self.unread = False
        return None

    def _note_size(self) -> None:
        self.read_size = self.listed.size if self.listed and self.compressed else -1


def whole_lines(stream: BinaryIO, at: int, limit: int, end: int | None) -> tuple[bytes, bool]:
    """Read whole lines from a position on.

    Args:
        stream: The uncompressed text.
        at: Position of the first line.
        limit: About how many bytes to read. A line that is longer is read whole.
        end: Position at which the text that was read before ends. No line after it is returned. None sets no end.

    Returns:
        The lines, and whether there may be more.
    """
    stream.seek(at)
    data = stream.read(limit)
    while True:
        if end is not None and at + len(data) >= end:
            return data[: end - at], True
        cut = data.rfind(b"\n") + 1
        if len(data) < limit:  # the end of the file
            return data[:cut], False
        if cut:
            return data[:cut], True
        data += stream.read(limit)  # a line longer than a chunk
        limit += limit


def _digest(prefix: bytes) -> str:
    return f"{len(prefix)}:{hashlib.sha256(prefix).hexdigest()[:16]}"
