"""Tensors of the Open Inference Protocol: what is written is read, raw and typed; what is malformed is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving_client.open_inference_codec import read_tensors, write_tensor
from serving_client.protocol import messages

NUMBERS = ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"]


def written(value, raw):
    request = messages.ModelInferRequest()
    write_tensor(request, "x", value, raw)
    return request


def answered(request):
    """The request's tensors as a server would send them back."""
    response = messages.ModelInferResponse(raw_output_contents=request.raw_input_contents)
    for tensor in request.inputs:
        response.outputs.add().ParseFromString(tensor.SerializeToString())  # the two messages have the same fields
    return response


def read(datatype, shape, raw=None, **contents):
    response = messages.ModelInferResponse()
    output = response.outputs.add(name="x", datatype=datatype, shape=shape)
    for field, values in contents.items():
        getattr(output.contents, field).extend(values)
    if raw is not None:
        response.raw_output_contents.append(raw)
    return read_tensors(response)["x"]


@given(
    array=st.sampled_from([*NUMBERS, "f2", ">i4", ">f8"]).flatmap(
        lambda code: hnp.arrays(np.dtype(code), hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
    ),
    raw=st.booleans(),
)
def test_arrays_of_numbers_come_back_as_they_were(array, raw):
    if array.dtype == np.float16 and not raw:
        raw = True
    found = read_tensors(answered(written(array, raw)))["x"]
    assert found.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, array, strict=False)
    assert found.shape == array.shape
    assert found.flags.writeable


@given(rows=st.lists(st.lists(st.binary(max_size=5), min_size=2, max_size=2), max_size=4), raw=st.booleans())
def test_strings_come_back_as_they_were_whatever_bytes_they_hold(rows, raw):
    found = read_tensors(answered(written(np.array(rows, dtype=object).reshape(len(rows), 2), raw)))["x"]
    assert found.tolist() == rows
    assert found.shape == (len(rows), 2)


def test_raw_numbers_are_little_endian_and_raw_strings_have_their_length_before_them():
    """The bytes by hand: 1 and 258 as four bytes each; "é" is C3 A9, two bytes."""
    assert list(written(np.array([1, 258], np.int32), raw=True).raw_input_contents) == [b"\1\0\0\0\2\1\0\0"]
    assert list(written(["é", "", b"\0"], raw=True).raw_input_contents) == [b"\2\0\0\0\xc3\xa9\0\0\0\0\1\0\0\0\0"]


@pytest.mark.parametrize(
    ("value", "datatype", "shape"),
    [
        ([1.5, 2.5], "FP32", [2]),
        (np.array([1.5]), "FP64", [1]),
        (np.float64(1.5), "FP64", []),
        ([[1], [2]], "INT64", [2, 1]),
        ([True, False], "BOOL", [2]),
        ("a", "BYTES", []),
        (np.array(["a", "bc"]), "BYTES", [2]),
        ([b"a", "b"], "BYTES", [2]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("raw", [True, False])
def test_each_kind_of_value_has_its_datatype(value, datatype, shape, raw):
    (tensor,) = written(value, raw).inputs
    assert (tensor.datatype, list(tensor.shape)) == (datatype, shape)


def test_brain_floats_are_read_as_float32():
    """1.0 and -2.0: the upper halves of the float32s 3F800000 and C0000000."""
    assert read("BF16", [2], b"\x80\x3f\x00\xc0").tolist() == [1.0, -2.0]


@pytest.mark.parametrize(
    ("value", "raw", "error"),
    [
        (np.array([1 + 2j]), True, TypeError),
        ([None], True, TypeError),
        ([{}], True, TypeError),
        ([[1], [2, 3]], True, ValueError),
        (np.array([1], np.float16), False, ValueError),
    ],
    ids=repr,
)
def test_a_value_without_datatype_is_refused(value, raw, error):
    with pytest.raises(error):
        written(value, raw)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (("FP32", [2], b"1234"), "1 values for the shape"),
        (("FP32", [1], b"12345"), "5 bytes"),
        (("FP32", [2**40, 2**40], b"1234"), "values for the shape"),
        (("FP32", [-1], b""), "shape"),
        (("FP99", [1], b"1234"), "unknown datatype 'FP99'"),
        (("BYTES", [1], b"\5\0\0\0abc"), "ends inside its string 0"),
        (("BYTES", [1], b"\1\0\0\0a\1\0"), "ends inside its string 1"),
        (("BYTES", [2], b"\1\0\0\0a"), "1 values for the shape"),
    ],
    ids=repr,
)
def test_raw_contents_that_do_not_fit_are_refused(tensor, words):
    with pytest.raises(ValueError, match=words):
        read(*tensor)


@pytest.mark.parametrize(
    ("datatype", "contents", "words"),
    [
        ("FP32", {"fp32_contents": [1.0]}, "1 values for the shape"),
        ("FP32", {"fp64_contents": [1.0, 2.0]}, "0 values for the shape"),
        ("FP16", {}, "no typed contents"),
        ("INT8", {"int_contents": [1, 300]}, "300"),
    ],
    ids=repr,
)
def test_typed_contents_that_do_not_fit_are_refused(datatype, contents, words):
    with pytest.raises(ValueError, match=words):
        read(datatype, [2], **contents)


def test_raw_contents_for_some_outputs_only_are_refused():
    response = messages.ModelInferResponse(raw_output_contents=[b"1234"])
    for name in ("a", "b"):
        response.outputs.add(name=name, datatype="FP32", shape=[1])
    with pytest.raises(ValueError, match="1 raw contents for 2 outputs"):
        read_tensors(response)


def test_an_output_that_is_there_twice_is_refused():
    response = messages.ModelInferResponse()
    for _ in range(2):
        response.outputs.add(name="a", datatype="FP32", shape=[0])
    with pytest.raises(ValueError, match="two outputs are called 'a'"):
        read_tensors(response)
