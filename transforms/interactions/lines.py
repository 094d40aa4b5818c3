"""Cut text files into blocks of whole lines, keeping the number and the bytes of every line.

A record is one line. As in other line-oriented tools, a line feed within a quoted CSV value ends the record.
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
    """A block of whole lines. Only the last line of a file may lack its LF.

    Args:
        first_line: 1-based number of the block's first line in the file.
        data: The lines with their line ends.
    """

    def __init__(self, first_line: int, data: bytes) -> None:
        self.first_line = first_line
        self.data = data

    def count(self) -> int:
        """Return the number of lines."""
        return _count_lines(self.data)

    @functools.cached_property
    def offsets(self) -> npt.NDArray[np.int32]:
        """Start of each line in `data`, and the end of the last line, int32 [lines + 1]."""
        line_feeds = np.flatnonzero(np.frombuffer(self.data, np.uint8) == 10) + 1
        rest = [] if self.data.endswith(b"\n") or not self.data else [len(self.data)]
        return np.concatenate([[0], line_feeds, rest]).astype(np.int32)

    def line(self, index: int) -> bytes:
        """Return the bytes of one line, without its LF or CR LF."""
        start, end = self.offsets[index : index + 2].tolist()
        return self.data[start:end].removesuffix(b"\n").removesuffix(b"\r")

    def array(self) -> pa.BinaryArray:
        """Return all lines with their line ends, without copying."""
        offsets = self.offsets
        return pa.Array.from_buffers(
            pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(self.data)]
        )

    def after(self, index: int) -> LineBlock:
        """Return the lines after line `index`."""
        return LineBlock(self.first_line + index + 1, self.data[int(self.offsets[index + 1]) :])


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
