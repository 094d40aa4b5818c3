"""Many digests at once are hashlib's digests one by one."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest

from transforms.attribution.parsing.blake import BLOCK_BYTES, blake2b_words


def digests(texts: list[bytes]) -> list[bytes]:
    padded = [text.ljust(max(1, -(-len(text) // BLOCK_BYTES)) * BLOCK_BYTES, b"\0") for text in texts]
    ends = np.cumsum([len(each) for each in padded], dtype=np.int64)
    starts = (ends - np.array([len(each) for each in padded], np.int64)) // 8
    words = np.frombuffer(b"".join(padded), np.uint64)
    sizes = np.array([len(text) for text in texts], np.int64)
    return [digest.tobytes() for digest in blake2b_words(words, starts, sizes).astype("<u8")]


def expected(texts: list[bytes]) -> list[bytes]:
    return [hashlib.blake2b(text, digest_size=8).digest() for text in texts]


def test_texts_of_all_sizes_have_the_digests_of_hashlib() -> None:
    """In one order the sizes of a group are alike, in the other they have different numbers of blocks."""
    rng = random.Random(1)
    texts = [rng.randbytes(size) for size in range(4 * BLOCK_BYTES + 2)]
    assert digests(texts) == expected(texts)
    rng.shuffle(texts)
    assert digests(texts) == expected(texts)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 32, 33])
def test_groups_that_are_not_full_are_hashed(n: int) -> None:
    texts = [b"abc" * (number % 100) for number in range(n)]
    assert digests(texts) == expected(texts)


def test_no_texts_have_no_digests() -> None:
    assert digests([]) == []
