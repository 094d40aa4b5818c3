"""SipHash: the paper's vectors, an independent implementation, and Arrow's slices."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import siphash24
from hypothesis import given
from hypothesis import strategies as st

from transforms.hashing import _siphash, siphash

# Appendix A of the paper and vectors.h of the reference code: key 00 01 .. 0f, input 00 01 .. n-1.
PAPER_KEY = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
PAPER_VECTORS = {0: 0x726FDB47DD0E0E31, 1: 0x74F839C593DC67FD, 15: 0xA129CA6149BE45E5}


@pytest.mark.parametrize(("length", "expected"), PAPER_VECTORS.items())
def test_the_papers_vectors_come_out(length: int, expected: int) -> None:
    data = np.arange(length, dtype=np.uint8)
    hashes = _siphash(np.array([0, length]), data, np.uint64(PAPER_KEY[0]), np.uint64(PAPER_KEY[1]))
    assert hashes.tolist() == [expected]


def slow_siphash(text: str, seed: int) -> int:
    key = seed.to_bytes(8, "little") + bytes(8)
    return int.from_bytes(siphash24.siphash24(text.encode(), key=key).digest(), "little")


ids = st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=300), max_size=30)
seeds = st.integers(0, 2**64 - 1)


@given(ids=ids, seed=seeds, kind=st.sampled_from([pa.string(), pa.large_string()]))
def test_siphash_agrees_with_another_implementation(ids: list[str], seed: int, kind: pa.DataType) -> None:
    assert siphash(pa.array(ids, kind), seed).tolist() == [slow_siphash(text, seed) for text in ids]


@given(ids=ids, seed=seeds, data=st.data())
def test_a_slice_hashes_like_its_copy(ids: list[str], seed: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(ids)))
    length = data.draw(st.integers(0, len(ids) - start))
    sliced = pa.array(ids, pa.string()).slice(start, length)
    assert siphash(sliced, seed).tolist() == [slow_siphash(text, seed) for text in ids[start : start + length]]


def test_hashes_stay_what_they_are_from_version_to_version() -> None:
    """A split or a shard made last year must come out the same: these numbers (by siphash24 1.9) never change."""
    assert siphash(pa.array(["", "u1", "007"]), 1).tolist() == [
        6117966011428545502,
        5490329498293235548,
        987657565294455781,
    ]


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_that_is_no_64_bit_number_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=str(seed)):
        siphash(pa.array(["a"]), seed)


def test_nulls_and_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="1 nulls among 2"):
        siphash(pa.array(["a", None]), 1)
    with pytest.raises(TypeError, match="int64"):
        siphash(pa.array([1]), 1)
