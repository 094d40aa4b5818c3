"""What is known of one file of a log: how far it was read, what recognises it; and how whole lines are taken from it.

A compressed file's positions are those of its text.
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
    """at, end, listed_at_us: as in Position; at == end unless it is being read again.

    head: LENGTH:DIGEST of its first bytes, up to _HEAD_BYTES, as far as they were read. prefix: those bytes, None where
    only their digest is known. listed: as of the last listing, None while the file is not there. first_us: its mtime
    when it was first seen. unread: there may be lines to read. compare: its beginning must be compared before it is
    read on. read_size: of a compressed file its size on disk when it was read to its end, else -1. failures: tries to
    read it that failed since one did not.
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
        """A file at a position that `position` gave."""
        length, digest, size = [*position.head.split(":"), "", "", ""][:3]
        head, prefix = (f"{length}:{digest}", None) if length else ("", b"")
        file = cls(name, position.at, position.end, head, prefix, position.listed_at_us)
        file.read_size = int(size) if size else -1
        return file

    @property
    def position(self) -> Position:
        """Where it is; a compressed file that was read to its end has its size in `head`, too."""
        head = f"{self.head}:{self.read_size}" if self.read_size >= 0 else self.head
        return Position(self.at, self.end, head, self.listed_at_us)

    @property
    def rereading(self) -> bool:
        """Whether it was read further before the restart."""
        return self.at < self.end

    @property
    def set_aside(self) -> bool:
        """Whether it could not be read and only a change of it is waited for."""
        return self.failures > len(_PAUSES_US)

    @property
    def compressed(self) -> bool:
        """Whether its bytes are gzip's."""
        return self.name.endswith(".gz")

    @property
    def order(self) -> tuple[bool, int, str]:
        """When it is its turn; what was read before a restart comes first."""
        return not self.rereading, self.first_us, self.name

    def see(self, listed: Listed, now_us: int, precision_us: int) -> None:
        """A listing has it. precision_us: how exact listed_at_us must be."""
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
        """Whether the text goes on from where it was read to, as far as its length and its beginning tell."""
        length = int(self.head.partition(":")[0] or 0)
        stream.seek(0)
        prefix = stream.read(length)
        if (length and _digest(prefix) != self.head) or stream.seek(0, io.SEEK_END) < self.end:
            return False
        self.prefix = prefix
        return True

    def begin_anew(self) -> None:
        """It is another file now."""
        self.at = self.end = 0
        self.head, self.prefix, self.read_size, self.compare = "", b"", -1, False

    def take(self, lines: bytes, more: bool) -> bool:
        """Lines were read; returns whether they had been read before. more: there may be further ones."""
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
        """There is no whole line any more; one that was to be read again is shorter now, as the next listing tells."""
        self.at = self.end
        self.unread = False
        self._note_size()

    def fail(self, now_us: int) -> int | None:
        """It could not be read; returns when to try again, None if it is set aside until it changes.

        Of one that was set aside before, a change is tried once: one that changes all the time holds nothing up.
        """
        self.failures += 1
        if not self.set_aside:
            return now_us + _PAUSES_US[self.failures - 1]
        self.unread = False
        return None

    def _note_size(self) -> None:
        self.read_size = self.listed.size if self.listed and self.compressed else -1


def whole_lines(stream: BinaryIO, at: int, limit: int, end: int | None) -> tuple[bytes, bool]:
    """Whole lines from a position on, about `limit` bytes, and whether there may be more.

    end: where what was read before ends; nothing beyond it is taken, and what stands before it is whole.
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
