"""Columns come back as they were put in, and rising ones are small."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from transforms.attribution.packing import ColumnReader, ColumnWriter

sizes = st.integers(0, 20)


@given(
    numbers=arrays(np.int64, sizes) | arrays(np.int32, sizes) | arrays(np.uint8, sizes),
    floats=arrays(np.float64, sizes) | arrays(np.float64, sizes, elements=st.sampled_from([0.25, -0.0, 0.5])),
    hashes=arrays(np.uint64, sizes),
    texts=st.lists(st.binary(max_size=5), max_size=5),
)
def test_columns_come_back_bit_by_bit(
    numbers: np.ndarray, floats: np.ndarray, hashes: np.ndarray, texts: list[bytes]
) -> None:
    out = ColumnWriter()
    out.integers(numbers)
    out.hashes(hashes)
    out.integers(numbers, rising=True)
    out.floats(floats)
    out.texts(texts)
    out.json({"a": [1, None]})
    read = ColumnReader(out.finish())
    assert read.integers(len(numbers)).tolist() == numbers.tolist()
    assert read.hashes(len(hashes)).tolist() == hashes.tolist()
    assert read.integers(len(numbers), rising=True).tolist() == numbers.tolist()
    assert read.floats(len(floats)).tobytes() == floats.tobytes()
    assert read.texts(len(texts)) == texts
    assert read.json() == {"a": [1, None]}


def test_arrays_read_may_be_written_to() -> None:
    out = ColumnWriter()
    out.integers(np.arange(3))
    out.hashes(np.arange(3, dtype=np.uint64))
    out.floats(np.arange(3.0))
    read = ColumnReader(out.finish())
    for column in (read.integers(3), read.hashes(3), read.floats(3)):
        column[0] = 7


def test_times_a_second_apart_take_about_a_byte_each() -> None:
    out = ColumnWriter()
    out.integers(1_795_500_000_000_000 + 1_000_000 * np.arange(1_000), rising=True)
    assert len(out.finish()) < 200


def test_another_version_is_refused() -> None:
    data = struct.pack("<B", 99) + ColumnWriter().finish()[1:]
    with pytest.raises(ValueError, match="version 99"):
        ColumnReader(data)
