"""The codec: what goes out, what comes back whichever way a server wrote it, and what is refused.

That TensorFlow itself reads and writes the same is in test_protocol.py, where a process has TensorFlow.
"""

from __future__ import annotations

import math
import tracemalloc

import hypothesis.extra.numpy as arrays_of
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_client import codec
from serving_client.codec import decoding
from serving_client.protocol import messages

NUMBERS = {
    "f4": (1, "float_val"),
    "f8": (2, "double_val"),
    "i4": (3, "int_val"),
    "u1": (4, "int_val"),
    "i2": (5, "int_val"),
    "i1": (6, "int_val"),
    "c8": (8, "scomplex_val"),
    "i8": (9, "int64_val"),
    "b1": (10, "bool_val"),
    "u2": (17, "int_val"),
    "c16": (18, "dcomplex_val"),
    "f2": (19, "half_val"),
    "u4": (22, "uint32_val"),
    "u8": (23, "uint64_val"),
}
"""DataType and list of each dtype, from TensorFlow's types.proto and tensor.proto."""
SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9)
ARRAYS = st.sampled_from(sorted(NUMBERS)).flatmap(lambda dtype: arrays_of.arrays(np.dtype(dtype), SHAPES))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def tensor(number, shape, **fields):
    return messages.TensorProto(dtype=number, tensor_shape={"dim": [{"size": size} for size in shape]}, **fields)


def as_list(array):
    """The same tensor as a `*_val` list."""
    number, field = NUMBERS[array.dtype.str.lstrip("<|=")]
    flat = array.reshape(-1)
    if array.dtype.kind == "c":
        values = [part for value in flat for part in (value.real, value.imag)]
    elif field == "half_val":
        values = flat.view(np.uint16).tolist()
    else:
        values = flat.tolist()
    return tensor(number, array.shape, **{field: values})


def check_equal(array, expected):
    assert array.shape == expected.shape
    assert array.dtype == expected.dtype
    assert array.tobytes() == np.ascontiguousarray(expected).tobytes()


@given(ARRAYS)
def test_an_array_comes_back_as_it_went(array):
    proto = codec.to_tensor(array)
    assert proto.dtype == NUMBERS[array.dtype.str.lstrip("<|=")][0]
    decoded = codec.to_array(messages.TensorProto.FromString(proto.SerializeToString()))
    check_equal(decoded, array)
    assert decoded.flags.writeable


@given(ARRAYS)
def test_a_list_of_values_reads_as_the_content_does(array):
    decoded = codec.to_array(messages.TensorProto.FromString(as_list(array).SerializeToString()))
    assert decoded.shape == array.shape
    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)  # a nan keeps being one, its payload may not survive the list
    assert decoded.flags.writeable


@pytest.mark.parametrize("length", [1, 63, 64, 65, 5000])
@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
def test_floats_read_from_the_serialized_message_are_those_of_the_list(length, dtype):
    array = np.arange(length).astype(dtype)
    proto = as_list(array)
    proto.version_number = 300  # a field before the list, in two bytes
    check_equal(codec.to_array(proto), array)


def test_a_list_in_two_pieces_is_read_whole():
    """Unpacked or split lists are legal on the wire; protobuf joins them when it parses."""
    piece = tensor(1, [], float_val=[1.0] * 40).SerializeToString()
    proto = messages.TensorProto.FromString(piece + piece)
    proto.tensor_shape.dim.add(size=80)
    check_equal(codec.to_array(proto), np.ones(80, "f4"))


@given(ARRAYS.filter(lambda array: array.size > 0), st.data())
def test_a_list_cut_short_repeats_its_last_value(array, data):
    flat = array.reshape(-1)
    kept = data.draw(st.integers(1, flat.size))
    flat[kept:] = flat[kept - 1]
    proto = as_list(flat[:kept])
    proto.tensor_shape.CopyFrom(codec.to_tensor(array).tensor_shape)
    np.testing.assert_array_equal(codec.to_array(proto), array)


@pytest.mark.parametrize("dtype", sorted(NUMBERS))
def test_no_values_stand_for_zeros(dtype):
    proto = tensor(NUMBERS[dtype][0], [2, 3])
    check_equal(codec.to_array(proto), np.zeros((2, 3), dtype))


def test_strings_cut_short_repeat_and_none_are_empty():
    assert codec.to_array(tensor(7, [4], string_val=[b"a", b"b"])).tolist() == [b"a", b"b", b"b", b"b"]
    assert codec.to_array(tensor(7, [2])).tolist() == [b"", b""]
    assert codec.strings(tensor(7, [2, 2], string_val=[b"a", b"b"])) == ["a", "b", "b", "b"]
    assert codec.strings(tensor(7, [2])) == ["", ""]


@given(arrays_of.arrays(object, SHAPES, elements=st.binary(max_size=5)))
def test_bytes_come_back_as_they_went(array):
    decoded = codec.to_array(codec.to_tensor(array))
    assert decoded.dtype == object
    assert decoded.shape == array.shape
    assert decoded.tolist() == array.tolist()


@given(st.lists(TEXTS))
def test_text_goes_as_utf8_and_comes_back(texts):
    proto = codec.to_tensor(texts, str)
    assert codec.strings(proto) == texts
    assert codec.to_array(proto).tolist() == [text.encode() for text in texts]
    mixed = [text.encode() if number % 2 else text for number, text in enumerate(texts)]
    assert codec.to_tensor(mixed, str) == proto
    assert codec.to_tensor(mixed[::-1], str) == codec.to_tensor(texts[::-1], str)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_strings_as_content_are_their_lengths_and_then_their_bytes(values):
    """TF Serving with --enable_serialization_as_tensor_content; 300 bytes need a length of two bytes."""
    lengths = b"".join(
        bytes([len(value)]) if len(value) < 128 else bytes([len(value) % 128 + 128, len(value) // 128])
        for value in values
    )
    proto = tensor(7, [len(values)], tensor_content=lengths + b"".join(values))
    assert codec.to_array(proto).tolist() == values


@pytest.mark.parametrize(
    ("value", "dtype", "shape"),
    [
        (1.5, "f4", ()),
        (3, "i8", ()),
        (True, "?", ()),
        ([1.5, 2], "f4", (2,)),
        ([1, 2.5], "f4", (2,)),
        ([True, 2], "i8", (2,)),
        ([True, 2.5], "f4", (2,)),
        ([[True, False], [False, True]], "?", (2, 2)),
        ([[1, 2, 3], (4, 5, 6)], "i8", (2, 3)),
        ([[[1.0]], [[2.0]]], "f4", (2, 1, 1)),
        ([], "f4", (0,)),
        ([[], []], "f4", (2, 0)),
        (range(3), "i8", (3,)),
        (np.float64(1.5), "f8", ()),
        ([np.int32(1), np.int32(2)], "i4", (2,)),
        ([np.ones(2, "u1"), np.ones(2, "u1")], "u1", (2, 2)),
        ([-(2**63), 2**63 - 1], "i8", (2,)),
        ([math.inf, -math.inf], "f4", (2,)),
    ],
)
def test_the_first_value_of_a_list_decides_its_dtype(value, dtype, shape):
    check_equal(codec.to_array(codec.to_tensor(value)), np.array(value if shape else [value], dtype).reshape(shape))


@pytest.mark.parametrize(
    ("value", "expected", "shape"),
    [
        ("é", ["é"], ()),
        (b"a", ["a"], ()),
        (np.str_("a"), ["a"], ()),
        (np.bytes_(b"a"), ["a"], ()),
        ([["a", "b"], ["c", ""]], ["a", "b", "c", ""], (2, 2)),
        (("a", b"b"), ["a", "b"], (2,)),
        ([b"a", "b"], ["a", "b"], (2,)),
        (np.array([["a", "bc"]]), ["a", "bc"], (1, 2)),
        (np.array([b"a", b"bc"]), ["a", "bc"], (2,)),
        (np.array(["a", "b"], dtype=object), ["a", "b"], (2,)),
        (np.array(["a", "b"], dtype=np.dtypes.StringDType()), ["a", "b"], (2,)),
        ([np.array(["a"]), np.array(["b"])], ["a", "b"], (2, 1)),
        ([np.str_("a"), np.bytes_(b"b\0")], ["a", "b\0"], (2,)),
    ],
)
def test_text_of_every_python_and_numpy_kind_is_a_string_tensor(value, expected, shape):
    for proto in (codec.to_tensor(value), codec.to_tensor(value, str)):
        assert proto.dtype == 7
        assert codec.strings(proto) == expected
        assert codec.to_array(proto).shape == shape


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ([1, 2], "f4", np.array([1, 2], "f4")),
        ([1.0, 2.0], "i4", np.array([1, 2], "i4")),
        ([2**63], "u8", np.array([2**63], "u8")),
        (np.array([1, 0]), bool, np.array([True, False])),
        (0.1, "f8", np.array(0.1)),
        (np.array([0.1]), "f4", np.array([0.1], "f4")),
        ([1, 2], "c8", np.array([1, 2], "c8")),
        ([], "i8", np.array([], "i8")),
        ([], str, np.array([], object)),
        ([[], []], bytes, np.empty((2, 0), object)),
        (np.array([math.nan]), "f2", np.array([math.nan], "f2")),
    ],
)
def test_a_dtype_says_otherwise(value, dtype, expected):
    check_equal(codec.to_array(codec.to_tensor(value, dtype)), expected)


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        ([1.0, 1e39], None, "not all values fit float32"),
        ([1.0, 10**400], None, "not all values fit float32"),
        ([1, 2**63], None, "not all values fit int64"),
        ([1, -(2**63) - 1], None, "not all values fit int64"),
        ([1.0, None], None, "not all values fit float32"),
        ([1.0, "2"], None, "not all values fit float32"),
        ([1, "2"], None, "not all values fit int64"),
        ([1, None], None, "not all values fit int64"),
        (["a", 1], None, "not all values are strings"),
        ([b"a", None], None, "not all values are strings"),
        (None, None, "NoneType cannot be in a tensor"),
        ([None, 1], None, "NoneType cannot be in a tensor"),
        ({"a": 1}, None, "dict cannot be in a tensor"),
        ([np.float32(1), "a"], None, "float32 cannot be in a tensor, or not among values of another type"),
        ([[1.0], [1.0, 2.0]], None, "lists have unequal lengths or depths at level 1"),
        ([[[1], [2]], [[1], 2]], None, "lists have unequal lengths or depths at level 2"),
        ([["a"], "b"], None, "lists have unequal lengths or depths at level 1"),
        (["a", ["b"]], None, "not all values are strings"),
        ([1.0, [2.0]], None, "not all values fit float32"),
        ("\ud800", None, "a string has no UTF-8 form"),
        (np.array(["a", 1], dtype=object), None, "not all values are strings"),
        (np.array(["2026-01-01"], "M8[D]"), None, r"a tensor cannot hold dtype datetime64\[D\]"),
        (np.broadcast_to(np.float64(1), (2**28,)), None, "2147483648 bytes exceed the 2147418112"),
        ([1.5], "i8", "not all float64 values fit int64"),
        ([math.nan], "i8", "not all float64 values fit int64"),
        ([300], "u1", "not all int64 values fit uint8"),
        ([-1], "u4", "not all int64 values fit uint32"),
        ([2], bool, "not all int64 values fit bool"),
        (np.array([1e39]), "f4", "not all float64 values fit float32"),
        ([1j], "f4", "not all complex128 values fit float32"),
        (["1"], "f4", "<U1 values cannot become float32"),
        ([1.0, None], "f4", "float cannot be in a tensor, or not among values of another type"),
        (np.array([1.0, None]), "f4", "object values cannot become float32"),
        ([[1], [1, 2]], "f4", "not an array of one type and shape"),
        ([1, 2], str, "int64 values cannot become <U0"),
        (["a", 2], str, "not all values are strings"),
        (np.array([1]), str, "int64 values cannot become <U0"),
    ],
)
def test_what_has_no_tensor_is_refused_with_its_reason(value, dtype, message):
    with pytest.raises(codec.CodecError, match=message):
        codec.to_tensor(value, dtype)


def test_a_list_within_itself_is_refused():
    endless: list = []
    endless.append(endless)
    with pytest.raises(codec.CodecError, match="deeper than 64 levels"):
        codec.to_tensor(endless)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype="f4").reshape(2, 3)),
        np.arange(12, dtype="i8").reshape(3, 4)[::2, ::-1],
        np.broadcast_to(np.float32(1), (2, 2)),
        np.arange(3, dtype="longlong"),
    ],
    ids=["big-endian", "columns first", "strided", "broadcast", "longlong"],
)
def test_whatever_its_layout_an_array_is_sent_row_by_row_and_little_endian(array):
    decoded = codec.to_array(codec.to_tensor(array))
    np.testing.assert_array_equal(decoded, array)
    assert decoded.dtype == array.dtype.newbyteorder("<")


def test_bfloat16_is_sent_as_its_bits_and_read_as_float32():
    values = [1.5, -2.0, math.inf]
    sent = codec.to_tensor(np.array(values, ml_dtypes.bfloat16))
    assert sent.dtype == 14
    bits = [0x3FC0, 0xC000, 0x7F80]  # the upper halves of the float32
    for proto in (sent, tensor(14, [3], half_val=bits)):
        check_equal(codec.to_array(proto), np.array(values, "f4"))


def test_booleans_in_content_are_true_from_one_on():
    check_equal(codec.to_array(tensor(10, [3], tensor_content=b"\x00\x01\x02")), np.array([False, True, True]))


def test_write_tensor_leaves_nothing_of_what_was_there():
    request = messages.PredictRequest()
    codec.write_tensor(request.inputs["x"], ["a", "b"])
    codec.write_tensor(request.inputs["x"], 1.0)
    assert request.inputs["x"] == codec.to_tensor(1.0)
    assert request.inputs["x"].HasField("tensor_shape")


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (tensor(0, []), r"dtype 0 \(DT_INVALID\)"),
        (tensor(20, []), r"dtype 20 \(DT_RESOURCE\)"),
        (tensor(11, [1], tensor_content=b"a"), r"dtype 11 \(DT_QINT8\)"),
        (tensor(999, []), r"dtype 999 \(unknown\)"),
        (messages.TensorProto(dtype=1, tensor_shape={"unknown_rank": True}), "unknown rank"),
        (tensor(1, [-1]), r"shape \(-1,\) has a negative dimension"),
        (tensor(1, [1] * 65), "65 dimensions, at most 64"),
        (tensor(1, [2], float_val=[1, 2, 3]), "3 values for a shape of 2 elements"),
        (tensor(1, [0], float_val=[1]), "1 values for a shape of 0 elements"),
        (tensor(1, [2], tensor_content=b"abc"), "3 bytes of content for a shape of 2 elements DT_FLOAT, 4 bytes each"),
        (tensor(9, [2**40, 2**40], tensor_content=b"abc"), "3 bytes of content"),
        (tensor(1, [2**40], float_val=[1]), "268435456 bytes may be repeated values"),
        (tensor(1, [2**40]), "268435456 bytes may be repeated values"),
        (tensor(7, [2**40], string_val=[b"a"]), "268435456 bytes may be repeated values"),
        (tensor(1, [2**62, 2**62, 2**62], float_val=[1]), "268435456 bytes may be repeated values"),
        (tensor(1, [0, 2**62, 2**62]), "no array has the shape"),
        (tensor(4, [1], int_val=[256]), "int_val holds values beyond uint8"),
        (tensor(6, [1], int_val=[-129]), "int_val holds values beyond int8"),
        (tensor(19, [1], half_val=[-1]), "half_val holds values beyond uint16"),
        (tensor(14, [1], half_val=[65536]), "half_val holds values beyond uint16"),
        (tensor(8, [1], scomplex_val=[1.0]), "1 numbers in scomplex_val: complex values are pairs"),
        (tensor(7, [2], tensor_content=b"\x01"), "1 bytes of content for 2 strings"),
        (tensor(7, [1], tensor_content=b"\x02a"), "2 bytes of content for strings of 2 bytes together"),
        (tensor(7, [2], tensor_content=b"\x00\x80"), "runs past its end"),
        (tensor(7, [2**40], tensor_content=b"a"), "1 bytes of content for 1099511627776 strings"),
    ],
)
def test_a_tensor_that_contradicts_itself_is_refused_in_little_memory(proto, message):
    tracemalloc.start()
    try:
        with pytest.raises(codec.CodecError, match=message):
            codec.to_array(proto)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_text_that_is_none_is_refused():
    with pytest.raises(codec.CodecError, match="a string is not UTF-8"):
        codec.strings(tensor(7, [1], string_val=[b"\xff"]))
    with pytest.raises(codec.CodecError, match="the tensor is DT_FLOAT, not strings"):
        codec.strings(tensor(1, [1]))
    with pytest.raises(codec.CodecError, match="may be repeated values"):
        codec.strings(tensor(7, [2**40], string_val=[b"a"]))


def test_the_outputs_of_a_response_share_the_bound_on_repeated_values(monkeypatch):
    """Limit 64 bytes: ten float32 take 40, the next ten would make 80; values that were sent do not count."""
    monkeypatch.setattr(decoding, "MAX_REPEATED_BYTES", 64)
    response = messages.PredictResponse()
    response.outputs["a"].CopyFrom(codec.to_tensor(np.ones(100, "f4")))
    response.outputs["b"].CopyFrom(tensor(1, [10], float_val=[2.0]))
    arrays = codec.to_arrays(response.outputs)
    assert {name: array.tolist() for name, array in arrays.items()} == {"a": [1.0] * 100, "b": [2.0] * 10}
    response.outputs["c"].CopyFrom(tensor(1, [10], float_val=[2.0]))
    with pytest.raises(codec.CodecError, match=r"[bc]: 1 values for a shape of 10 elements; 24 bytes may be repeated"):
        codec.to_arrays(response.outputs)
