"""BLAKE2b with a digest of 8 bytes, for many short texts at once and without the interpreter lock.

`hashlib` computes the same digests one text at a time. Here the texts of a group go through each step together, so that
the compiler can use vector instructions.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["BLOCK_BYTES", "blake2b_words"]

BLOCK_BYTES = 128
"""A text is hashed in blocks of this size. Zeros fill the last block."""
_BLOCK_WORDS = BLOCK_BYTES // 8
_TOGETHER = 16  # texts in a group
_ROUNDS = 12
_PARAMETERS = 0x01010008  # digest of 8 bytes, no key, fan-out and depth 1
_START = np.array(
    [
        0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
        0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
    ],
    np.uint64,
)  # fmt: skip
_ORDER = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
    ],
    np.int64,
)
"""Which word of the block each step of a round adds. Round 10 is like round 0, and 11 like 1."""


@numba.njit(inline="always")
def _rotate(x: np.uint64, bits: int) -> np.uint64:
    return (x >> np.uint64(bits)) | (x << np.uint64(64 - bits))


@numba.njit(inline="always")
def _mix(
    v: npt.NDArray[np.uint64], a: int, b: int, c: int, d: int, x: npt.NDArray[np.uint64], first: int, second: int
) -> None:
    """Mix two words of each text's block into four words of its state."""
    for text in range(_TOGETHER):
        va, vb, vc, vd = v[a, text], v[b, text], v[c, text], v[d, text]
        va += vb + x[first, text]
        vd = _rotate(vd ^ va, 32)
        vc += vd
        vb = _rotate(vb ^ vc, 24)
        va += vb + x[second, text]
        vd = _rotate(vd ^ va, 16)
        vc += vd
        vb = _rotate(vb ^ vc, 63)
        v[a, text], v[b, text], v[c, text], v[d, text] = va, vb, vc, vd


@numba.njit(cache=True, nogil=True)
def blake2b_words(
    words: npt.NDArray[np.uint64], starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint64]:
    """Return the digest of each text as a little-endian integer, uint64 [n].

    Args:
        words: The texts as little-endian words. Zeros fill each text's last block; an empty text has one block.
        starts: Number of each text's first word, int64 [n].
        sizes: Size of each text in bytes, int64 [n].

    Source: Saarinen and Aumasson, The BLAKE2 cryptographic hash, RFC 7693, 2015.
    """
    digests = np.empty(len(sizes), np.uint64)
    h = np.empty((8, _TOGETHER), np.uint64)  # state between blocks
    v = np.empty((16, _TOGETHER), np.uint64)  # state inside a block
    x = np.empty((_BLOCK_WORDS, _TOGETHER), np.uint64)  # the block
    hashed, last, now = np.empty(_TOGETHER, np.uint64), np.empty(_TOGETHER, np.uint64), np.empty(_TOGETHER, np.uint64)
    for first in range(0, len(sizes), _TOGETHER):
        texts = min(_TOGETHER, len(sizes) - first)
        for i in range(8):
            for text in range(_TOGETHER):
                h[i, text] = _START[i]
        for text in range(_TOGETHER):
            h[0, text] ^= np.uint64(_PARAMETERS)
        blocks = (max(1, sizes[first : first + texts].max()) + BLOCK_BYTES - 1) // BLOCK_BYTES
        for block in range(blocks):
            for text in range(_TOGETHER):
                size = sizes[first + text] if text < texts else 0
                left = size - block * BLOCK_BYTES
                is_hashed = text < texts and (left > 0 or block == 0)
                place = starts[first + text] + block * _BLOCK_WORDS if is_hashed else 0
                for i in range(_BLOCK_WORDS):
                    x[i, text] = words[place + i]
                hashed[text] = min(size, (block + 1) * BLOCK_BYTES)
                last[text] = ~np.uint64(0) if left <= BLOCK_BYTES else np.uint64(0)
                now[text] = ~np.uint64(0) if is_hashed else np.uint64(0)
            for i in range(8):
                for text in range(_TOGETHER):
                    v[i, text] = h[i, text]
                    v[8 + i, text] = _START[i]
            for text in range(_TOGETHER):
                v[12, text] ^= hashed[text]
                v[14, text] ^= last[text]
            for turn in range(_ROUNDS):
                s = _ORDER[turn % len(_ORDER)]
                _mix(v, 0, 4, 8, 12, x, s[0], s[1])
                _mix(v, 1, 5, 9, 13, x, s[2], s[3])
                _mix(v, 2, 6, 10, 14, x, s[4], s[5])
                _mix(v, 3, 7, 11, 15, x, s[6], s[7])
                _mix(v, 0, 5, 10, 15, x, s[8], s[9])
                _mix(v, 1, 6, 11, 12, x, s[10], s[11])
                _mix(v, 2, 7, 8, 13, x, s[12], s[13])
                _mix(v, 3, 4, 9, 14, x, s[14], s[15])
            for i in range(8):
                for text in range(_TOGETHER):
                    h[i, text] ^= (v[i, text] ^ v[8 + i, text]) & now[text]
        for text in range(texts):
            digests[first + text] = h[0, text]
    return digests
