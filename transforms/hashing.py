"""Hash ids with SipHash-2-4: the same number in every pipeline, on every machine, on every day.

The hash assigns ids to shards and splits, and breaks ties. It protects nothing, because the seed is not secret.
Python's own `hash` differs between processes.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["siphash"]


def siphash(ids: pa.Array, seed: int) -> npt.NDArray[np.uint64]:
    """Return the SipHash-2-4 of each id's UTF-8 bytes, with the key (seed, 0) in little-endian order.

    Args:
        ids: String or binary array [ids]; slices are allowed.
        seed: First half of the key, 0 to 2^64 - 1.

    Returns:
        uint64 [ids].

    Raises:
        ValueError: `ids` has nulls, or `seed` is out of range.
        TypeError: `ids` has another type.

    Source: Aumasson and Bernstein, SipHash: a fast short-input PRF, 2012.
    """
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"siphash needs a seed of 0 to 2^64 - 1, got seed={seed}")
    if ids.null_count:
        raise ValueError(f"siphash got {ids.null_count} nulls among {len(ids)} ids")
    if pa.types.is_string(ids.type) or pa.types.is_binary(ids.type):
        width: np.dtype[np.int32] | np.dtype[np.int64] = np.dtype(np.int32)
    elif pa.types.is_large_string(ids.type) or pa.types.is_large_binary(ids.type):
        width = np.dtype(np.int64)
    else:
        raise TypeError(f"siphash needs strings, got {ids.type}")
    if len(ids) == 0:
        return np.zeros(0, np.uint64)
    _, offsets_buffer, data_buffer = ids.buffers()
    # A slice shares its parent's buffers: its offsets start at ids.offset and count from the start of the data.
    offsets = np.frombuffer(offsets_buffer, width)[ids.offset : ids.offset + len(ids) + 1].astype(np.int64, copy=False)
    data = np.zeros(0, np.uint8) if data_buffer is None else np.frombuffer(data_buffer, np.uint8)
    return _siphash(offsets, data, np.uint64(seed), np.uint64(0))


@numba.njit(inline="always")
def _rotate(x: np.uint64, bits: int) -> np.uint64:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@numba.njit(inline="always")
def _round(
    v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    v0 += v1
    v2 += v3
    v1 = _rotate(v1, 13) ^ v0
    v3 = _rotate(v3, 16) ^ v2
    v0 = _rotate(v0, 32)
    v2 += v1
    v0 += v3
    v1 = _rotate(v1, 17) ^ v2
    v3 = _rotate(v3, 21) ^ v0
    v2 = _rotate(v2, 32)
    return v0, v1, v2, v3


@numba.njit(cache=True, nogil=True)
def _siphash(
    offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8], k0: np.uint64, k1: np.uint64
) -> npt.NDArray[np.uint64]:
    """Hash the ids that `offsets`, int64 [ids + 1], delimit in `data`, with the key (k0, k1)."""
    hashes = np.empty(len(offsets) - 1, np.uint64)
    for i in range(len(hashes)):
        start, end = offsets[i], offsets[i + 1]
        v0 = k0 ^ np.uint64(0x736F6D6570736575)
        v1 = k1 ^ np.uint64(0x646F72616E646F6D)
        v2 = k0 ^ np.uint64(0x6C7967656E657261)
        v3 = k1 ^ np.uint64(0x7465646279746573)
        at = start
        while at <= end:  # the last word holds the remaining bytes and, in its top byte, the length
            word = np.uint64((end - start) & 0xFF) << np.uint64(56) if end - at < 8 else np.uint64(0)
            for byte in range(min(8, end - at)):
                word |= np.uint64(data[at + byte]) << np.uint64(8 * byte)
            v3 ^= word
            v0, v1, v2, v3 = _round(v0, v1, v2, v3)
            v0, v1, v2, v3 = _round(v0, v1, v2, v3)
            v0 ^= word
            at += 8
        v2 ^= np.uint64(0xFF)
        for _ in range(4):
            v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        hashes[i] = v0 ^ v1 ^ v2 ^ v3
    return hashes
