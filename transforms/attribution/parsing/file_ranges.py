"""Divide log files into ranges that end at line ends, and read the lines of a range.

Large files are read in ranges, so that several workers can share a file. A compressed file is one range.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple, cast

from transforms.errors import BadInput
from transforms.files import storage

__all__ = ["RANGE_BYTES", "FileRange", "range_lines", "ranges_of"]

RANGE_BYTES = 12 << 20


class FileRange(NamedTuple):
    """A range of a file: the lines that begin from `start` up to `end`, end exclusive.

    Args:
        source: `decisions` or `rewards`.
        name: Name of the file.
        start: First byte.
        end: Byte after the last. -1 stands for the whole file.
    """

    source: str
    name: str
    start: int
    end: int


def ranges_of(source: str, sizes: Mapping[str, int], range_bytes: int = RANGE_BYTES) -> list[FileRange]:
    """Return all ranges of files, with the files sorted by name.

    Args:
        source: `decisions` or `rewards`.
        sizes: Size of each file in bytes, by name.
        range_bytes: Size of a range.
    """
    ranges = []
    for name, size in sorted(sizes.items()):
        if name.endswith(".gz"):
            ranges.append(FileRange(source, name, 0, -1))
            continue
        ranges += [FileRange(source, name, at, min(at + range_bytes, size)) for at in range(0, size, range_bytes)]
    return ranges


def range_lines(part: FileRange) -> tuple[bytes, int]:
    """Return the lines of a range and the position of the first. The last line of a file may lack its line end.

    Raises:
        BadInput: The file cannot be read.
    """
    try:
        with storage.open_read(part.name) as stream:
            if part.end < 0:
                return gzip.decompress(stream.read()), 0
            return _cut(cast(BinaryIO, stream), part.start, part.end)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{part.name}: cannot be read ({error}); replace or remove the file") from error


def _cut(stream: BinaryIO, start: int, end: int) -> tuple[bytes, int]:
    """Return the lines that begin from `start` up to `end`, and the position of the first."""
    before = max(start - 1, 0)  # a line begins at `start` if a line end is before it
    stream.seek(before)
    data = stream.read(end - before)
    skipped = data.find(b"\n") + 1 if start else 0
    if skipped == len(data) or (start and not skipped):
        return b"", end
    pieces = [data[skipped:]]
    if not data.endswith(b"\n"):
        pieces.append(stream.readline())
    return b"".join(pieces), before + skipped
