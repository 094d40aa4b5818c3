"""Text files cut into chunks of whole lines, so that the number and the bytes of every line stay at hand.

A record is a line: a quoted line feed inside a CSV value ends the record, as it does for line-oriented tools.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.interactions.files import FileFault

__all__ = ["CHUNK_BYTES", "Chunk", "read_chunks"]

CHUNK_BYTES = 16 << 20  # some 600,000 short rows: a block below the 20 MiB an element may have
LINE_BYTES_LIMIT = 64 << 20  # longer than any record; a file without line ends would be read into memory whole


class Chunk:
    """Whole lines: `first_line` is the 1-based number of the first; only the file's last line may lack its LF."""

    def __init__(self, first_line: int, data: bytes) -> None:
        self.first_line = first_line
        self.data = data

    def count(self) -> int:
        """How many lines."""
        return _count_lines(self.data)

    @functools.cached_property
    def offsets(self) -> npt.NDArray[np.int32]:
        """Where each line begins, and the end of the last; int32 [lines + 1]."""
        line_feeds = np.flatnonzero(np.frombuffer(self.data, np.uint8) == 10) + 1
        rest = [] if self.data.endswith(b"\n") or not self.data else [len(self.data)]
        return np.concatenate([[0], line_feeds, rest]).astype(np.int32)

    def line(self, index: int) -> bytes:
        """The bytes of one line, without its LF or CR LF."""
        start, end = self.offsets[index : index + 2].tolist()
        return self.data[start:end].removesuffix(b"\n").removesuffix(b"\r")

    def array(self) -> pa.BinaryArray:
        """All lines with their line ends, over the same memory."""
        offsets = self.offsets
        return pa.Array.from_buffers(
            pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(self.data)]
        )

    def after(self, index: int) -> Chunk:
        """The lines that follow one."""
        return Chunk(self.first_line + index + 1, self.data[int(self.offsets[index + 1]) :])


def read_chunks(stream: BinaryIO, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """The stream's rest in chunks of about `chunk_bytes`. Raises FileFault for a line beyond all measure."""
    line, rest = 1, b""
    while piece := stream.read(chunk_bytes):
        cut = piece.rfind(b"\n") + 1
        if cut == 0:
            rest += piece
            if len(rest) > LINE_BYTES_LIMIT:
                raise FileFault(f"line {line} is longer than {LINE_BYTES_LIMIT >> 20} MiB; is it a text file?")
            continue
        chunk = Chunk(line, rest + piece[:cut])
        rest = piece[cut:]
        yield chunk
        line += chunk.count()
    if rest:
        yield Chunk(line, rest)


def _count_lines(data: bytes) -> int:
    line_feeds = int(np.count_nonzero(np.frombuffer(data, np.uint8) == 10))
    return line_feeds + int(bool(data) and not data.endswith(b"\n"))
