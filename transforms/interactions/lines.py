"""Cut text files into blocks of whole lines, keeping the number and the bytes of every record.

A record is one line, unless a CSV value holds a line feed within quotes (see `records`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.interactions.files import FileFault

__all__ = ["LINE_BLOCK_BYTES", "LineBlock", "read_line_blocks"]

LINE_BLOCK_BYTES = 16 << 20  # about 600,000 short rows, below the 20 MiB that an element may have
LINE_BYTES_LIMIT = (
    64 << 20
)  # above any real record; without it a file without line ends would be read into memory whole


class LineBlock:
    """A block of whole records. Only the last record of a file may lack its LF.

    Args:
        first_line: 1-based number of the block's first line in the file.
        data: The records with their line ends.
        offsets: Start of each record in `data`, and the end of the last one, int32 [records + 1]. None if each line is
            a record.
    """

    def __init__(self, first_line: int, data: bytes, offsets: npt.NDArray[np.int32] | None = None) -> None:
        self.first_line = first_line
        self.data = data
        self._offsets = offsets

    def count(self) -> int:
        """Return the number of records."""
        return _count_lines(self.data) if self._offsets is None else len(self._offsets) - 1

    @functools.cached_property
    def offsets(self) -> npt.NDArray[np.int32]:
        """Start of each record in `data`, and the end of the last one, int32 [records + 1]."""
        if self._offsets is not None:
            return self._offsets
        rest = [] if self.data.endswith(b"\n") or not self.data else [len(self.data)]
        return np.concatenate([[0], self._line_feeds + 1, rest]).astype(np.int32)

    def position(self, index: int) -> int:
        """Return the 1-based number of a record's first line in the file."""
        if self._offsets is None:
            return self.first_line + index
        return self.first_line + int(np.searchsorted(self._line_feeds, self._offsets[index]))

    def line(self, index: int) -> bytes:
        """Return the bytes of one record, without its LF or CR LF."""
        start, end = self.offsets[index : index + 2].tolist()
        return self.data[start:end].removesuffix(b"\n").removesuffix(b"\r")

    def array(self) -> pa.BinaryArray:
        """Return all records with their line ends, without copying."""
        offsets = self.offsets
        return pa.Array.from_buffers(
            pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(self.data)]
        )

    def after(self, index: int) -> LineBlock:
        """Return the records after record `index`."""
        start = int(self.offsets[index + 1])
        offsets = None if self._offsets is None else self._offsets[index + 1 :] - np.int32(start)
        return LineBlock(self.first_line + self.data.count(b"\n", 0, start), self.data[start:], offsets)

    @functools.cached_property
    def _line_feeds(self) -> npt.NDArray[np.int64]:
        return np.flatnonzero(np.frombuffer(self.data, np.uint8) == 10)


def read_line_blocks(stream: BinaryIO, block_bytes: int = LINE_BLOCK_BYTES) -> Iterator[LineBlock]:
    """Read the rest of a stream in blocks of about `block_bytes` bytes.

    Raises:
        FileFault: A line is longer than 64 MiB.
    """
    line, rest = 1, b""
    while piece := stream.read(block_bytes):
        cut = piece.rfind(b"\n") + 1
        if cut == 0:
            rest += piece
            if len(rest) > LINE_BYTES_LIMIT:
                raise FileFault(f"line {line} is longer than {LINE_BYTES_LIMIT >> 20} MiB; is it a text file?")
            continue
        block = LineBlock(line, rest + piece[:cut])
        rest = piece[cut:]
        yield block
        line += block.count()
    if rest:
        yield LineBlock(line, rest)


def _count_lines(data: bytes) -> int:
    line_feeds = int(np.count_nonzero(np.frombuffer(data, np.uint8) == 10))
    return line_feeds + int(bool(data) and not data.endswith(b"\n"))
