"""Whatever bytes arrive as a response, the codec gives arrays or CodecError, quickly and in bounded memory."""

from __future__ import annotations

import contextlib
import tracemalloc

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from serving_client import codec
from serving_client.codec import decoding
from serving_client.protocol import messages

EXAMPLES = settings(max_examples=150)
LIMIT_BYTES = 1 << 16
"""MAX_REPEATED_BYTES in these tests, so that what is beyond it is told from what is not at a glance."""
SIZES = st.one_of(st.integers(-2, 9), st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**31, 2**32, 2**40, 2**62]))
TENSORS = st.builds(
    messages.TensorProto,
    dtype=st.one_of(st.integers(0, 30), st.integers(-(2**31), 2**31 - 1)),
    version_number=st.integers(-(2**31), 2**31 - 1),
    tensor_shape=st.fixed_dictionaries(
        {"dim": st.lists(st.fixed_dictionaries({"size": SIZES}), max_size=4)}, optional={"unknown_rank": st.booleans()}
    ),
    tensor_content=st.binary(max_size=64),
    float_val=st.lists(st.floats(width=32), max_size=4),
    double_val=st.lists(st.floats(), max_size=4),
    int_val=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
    half_val=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
    string_val=st.lists(st.binary(max_size=4), max_size=4),
    scomplex_val=st.lists(st.floats(width=32), max_size=5),
    dcomplex_val=st.lists(st.floats(), max_size=5),
    int64_val=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
    bool_val=st.lists(st.booleans(), max_size=4),
    uint32_val=st.lists(st.integers(0, 2**32 - 1), max_size=4),
    uint64_val=st.lists(st.integers(0, 2**64 - 1), max_size=4),
)
VALID = [
    codec.to_tensor(value).SerializeToString()
    for value in (np.arange(80, dtype="f4").reshape(8, 10), [["a", "bc"]], True, [1, 2, 3], np.ones(3, "c16"), [])
] + [
    messages.TensorProto(dtype=1, float_val=[0.5] * 80, tensor_shape={"dim": [{"size": 80}]}).SerializeToString(),
    messages.TensorProto(dtype=19, half_val=[1, 2], tensor_shape={"dim": [{"size": 5}]}).SerializeToString(),
    messages.TensorProto(dtype=7, tensor_content=b"\x01\x00a", tensor_shape={"dim": [{"size": 2}]}).SerializeToString(),
]


@pytest.fixture(autouse=True, scope="module")
def small_limit():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "MAX_REPEATED_BYTES", LIMIT_BYTES)
        yield


def decode(proto):
    """Both ways to read a tensor; the only error is CodecError, and what is read has the shape that is claimed."""
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    tracemalloc.start()
    try:
        array = codec.to_array(proto)
        assert array.shape == shape
        assert array.flags.writeable
    except codec.CodecError as error:
        assert str(error)
    finally:
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak_bytes < 4 * LIMIT_BYTES + 64 * proto.ByteSize()
    with contextlib.suppress(codec.CodecError):
        assert all(isinstance(text, str) for text in codec.strings(proto))


def shape_of(value):
    """Of lists that are equally long at each level; numpy's own function looks into the strings, too."""
    shape = []
    while isinstance(value, list | tuple):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def decode_bytes(serialized):
    try:
        proto = messages.TensorProto.FromString(serialized)
    except DecodeError:
        return
    decode(proto)


@EXAMPLES
@given(TENSORS)
def test_any_tensor_is_read_or_refused(proto):
    decode(proto)


@EXAMPLES
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_as_a_tensor(serialized):
    decode_bytes(serialized)


@EXAMPLES
@given(st.sampled_from(VALID), st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=4), st.data())
def test_a_valid_tensor_with_bytes_changed_and_its_end_cut_off_is_read_or_refused(serialized, changes, data):
    changed = bytearray(serialized)
    for position, byte in changes:
        if changed:
            changed[position % len(changed)] = byte
    decode_bytes(bytes(changed[: data.draw(st.integers(0, len(changed)))]))


@EXAMPLES
@given(st.one_of(st.binary(max_size=200), st.dictionaries(st.text(max_size=3), TENSORS, max_size=3)))
def test_any_response_is_read_or_refused(outputs):
    if isinstance(outputs, dict):
        outputs = messages.PredictResponse(outputs=outputs).SerializeToString()
    try:
        response = messages.PredictResponse.FromString(outputs)
    except DecodeError:
        return
    try:
        arrays = codec.to_arrays(response.outputs)
        assert set(arrays) == set(response.outputs)
    except codec.CodecError as error:
        name = str(error).partition(": ")[0]
        assert name in response.outputs or name == ""


@EXAMPLES
@given(
    st.recursive(
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.text(max_size=3), st.binary()
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(st.text(), inner)
        ),
        max_leaves=8,
    ),
    st.sampled_from([None, "f4", "i4", "u8", bool, str, "f2", "c8"]),
)
def test_any_python_value_is_sent_as_it_reads_or_refused(value, dtype):
    try:
        proto = codec.to_tensor(value, dtype)
    except codec.CodecError:
        return
    array = codec.to_array(messages.TensorProto.FromString(proto.SerializeToString()))
    assert array.shape == shape_of(value)
