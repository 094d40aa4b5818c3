"""Pack columns of numbers and texts into few bytes, and unpack them again.

Rising integers are stored as differences, in as many byte planes as the largest needs. Repeated floats are stored as a
dictionary. Both are compressed with zstd. Hashes are random and stored uncompressed. The caller reads the columns in
the order in which it wrote them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

__all__ = ["ColumnReader", "ColumnWriter"]

_VERSION = 1
_HEAD = struct.Struct("<BQQ")  # version, bytes of the packed part before and after zstd
_U64 = np.dtype("<u8")
_ZSTD = pa.Codec("zstd", compression_level=1)  # level 3 took 1.6x the time for 2% fewer bytes
_DISTINCT_SHARE = 4  # floats go through a dictionary where values repeat this often on average


class ColumnWriter:
    """Takes columns in an order that the reader repeats, and ends in `finish`."""

    def __init__(self) -> None:
        self._packed: list[bytes] = []
        self._plain: list[bytes] = []

    def hashes(self, column: npt.NDArray[np.uint64]) -> None:
        """uint64 [n], random: 8 bytes each."""
        self._plain.append(column.astype(_U64, copy=False).tobytes())

    def integers(self, column: npt.NDArray[np.integer], rising: bool = False) -> None:
        """Any integers that fit int64; `rising`: neighbors are close to each other, so differences are stored."""
        numbers = column.astype(np.int64, copy=False)
        if rising and len(numbers):
            numbers = np.diff(numbers, prepend=np.int64(0))  # wraps at both ends alike
        self._planes(((numbers << 1) ^ (numbers >> 63)).view(np.uint64))

    def floats(self, column: npt.NDArray[np.float64]) -> None:
        """float64 [n], every bit kept."""
        bits = column.astype("<f8", copy=False).view(_U64)
        distinct, codes = np.unique(bits, return_inverse=True)
        repeated = len(distinct) * _DISTINCT_SHARE <= len(bits)
        self._packed.append(struct.pack("<?I", repeated, len(distinct) if repeated else 0))
        if repeated:
            self._packed.append(distinct.tobytes())
        self._planes(codes.view(np.uint64) if repeated else bits)

    def texts(self, column: Sequence[bytes]) -> None:
        """Byte strings."""
        self.integers(np.fromiter(map(len, column), np.int64, len(column)))
        self._packed.extend(column)

    def json(self, value: object) -> None:
        """Whatever JSON can say."""
        data = orjson.dumps(value)
        self._packed += (struct.pack("<I", len(data)), data)

    def finish(self) -> bytes:
        """Return all columns as bytes."""
        packed = b"".join(self._packed)
        compressed = _ZSTD.compress(packed, asbytes=True)
        return b"".join([_HEAD.pack(_VERSION, len(packed), len(compressed)), compressed, *self._plain])

    def _planes(self, numbers: npt.NDArray[np.uint64]) -> None:
        width = (int(numbers.max()).bit_length() + 7) // 8 if len(numbers) else 0
        planes = numbers.astype(_U64, copy=False).view(np.uint8).reshape(-1, 8)[:, :width].T
        self._packed += (struct.pack("<B", width), planes.tobytes())


class ColumnReader:
    """Gives back, in the same order, what a ColumnWriter took; arrays are new and may be written to."""

    def __init__(self, data: bytes) -> None:
        version, size, compressed = _HEAD.unpack_from(data)
        if version != _VERSION:
            raise ValueError(f"columns are of version {version}, this program reads {_VERSION}; run one version alone")
        end = _HEAD.size + compressed
        self._packed: bytes = _ZSTD.decompress(memoryview(data)[_HEAD.size : end], size, asbytes=True)
        self._at = 0
        self._plain = data
        self._plain_at = end

    def hashes(self, rows: int) -> npt.NDArray[np.uint64]:
        """uint64 [rows]."""
        column = np.frombuffer(self._plain, _U64, rows, self._plain_at).astype(np.uint64)
        self._plain_at += 8 * rows
        return column

    def integers(self, rows: int, rising: bool = False) -> npt.NDArray[np.int64]:
        """int64 [rows]."""
        folded = self._planes(rows)
        numbers = (folded >> np.uint64(1)).view(np.int64) ^ -(folded & np.uint64(1)).view(np.int64)
        return np.cumsum(numbers) if rising else numbers

    def floats(self, rows: int) -> npt.NDArray[np.float64]:
        """float64 [rows]."""
        repeated, distinct = struct.unpack("<?I", self._take(5))
        if not repeated:
            return self._planes(rows).view(np.float64)
        values = np.frombuffer(self._take(8 * distinct), "<f8").astype(np.float64)
        return values[self._planes(rows).view(np.int64)]

    def texts(self, rows: int) -> list[bytes]:
        """Byte strings."""
        ends = np.cumsum(self.integers(rows)).tolist()
        data = self._take(ends[-1] if ends else 0)
        return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def json(self) -> object:
        """Return a value as JSON restores it: tuples are lists."""
        (size,) = struct.unpack("<I", self._take(4))
        value: object = orjson.loads(self._take(size))
        return value

    def _take(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        return self._packed[start : self._at]

    def _planes(self, rows: int) -> npt.NDArray[np.uint64]:
        width = self._take(1)[0]
        numbers = np.zeros((rows, 8), np.uint8)
        numbers[:, :width] = np.frombuffer(self._take(width * rows), np.uint8).reshape(width, rows).T
        return numbers.view(_U64).reshape(rows).astype(np.uint64, copy=False)
