"""Predict, check by check as predict_util.cc makes them, with its messages.

The checks are in its order, so that a request with two mistakes is told the same one. Shapes are not checked: the
kernels' own errors go to the client.
"""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np

from local_serving.core import Core
from local_serving.errors import Status
from local_serving.signatures import checked_inputs, checked_outputs, signature_of
from serving_client.protocol import messages

__all__ = ["predict", "write_output"]


def predict(core: Core, request: Any, timeout_s: float | None = None, as_content: bool = False) -> Any:
    """A PredictResponse to a PredictRequest.

    timeout_s: of the run. as_content: numbers and strings in `tensor_content` instead of `float_val` and its kin.
    Raises Status.
    """
    if not request.HasField("model_spec"):
        raise Status(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
    with core.handle(request.model_spec) as handle:
        name, signature = signature_of(handle.model.signature_defs, request.model_spec.signature_name)
        inputs = checked_inputs(signature, request.inputs)
        outputs = checked_outputs(signature, request.output_filter)
        arrays = handle.model.run(name, inputs, outputs, timeout_s)
        response = messages.PredictResponse()
        response.model_spec.name = handle.name
        response.model_spec.version.value = handle.version
        response.model_spec.signature_name = name
        for alias, array in arrays.items():
            write_output(response.outputs[alias], array, signature.outputs[alias].dtype, as_content)
        return response


def write_output(tensor: Any, array: Any, dtype: int, as_content: bool) -> None:
    """Fills a TensorProto as the server does: Tensor::AsProtoField, or AsProtoTensorContent.

    array: strings are object arrays of bytes; dtype: a number of tensorflow.DataType.
    """
    tensor.dtype = dtype
    tensor.tensor_shape.SetInParent()
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if array.dtype == object:
        strings = array.ravel().tolist()
        if as_content:  # port::EncodeStringList: the lengths of all, then the bytes of all
            tensor.tensor_content = b"".join([*(_varint(len(one)) for one in strings), *strings])
        else:
            tensor.string_val.extend(strings)
    elif as_content:
        tensor.tensor_content = np.ascontiguousarray(array).tobytes()
    else:
        _write_values(tensor, array.ravel())


def _write_values(tensor: Any, values: Any) -> None:
    kind, size = values.dtype.kind, values.dtype.itemsize
    if values.dtype == np.float32:
        tensor.float_val.extend(values.tolist())
    elif values.dtype == np.float64:
        tensor.double_val.extend(values.tolist())
    elif values.dtype == np.complex64:
        tensor.scomplex_val.extend(values.view(np.float32).tolist())
    elif values.dtype == np.complex128:
        tensor.dcomplex_val.extend(values.view(np.float64).tolist())
    elif kind == "b":
        tensor.bool_val.extend(values.tolist())
    elif kind in "iu" and size == 8:
        (tensor.int64_val if kind == "i" else tensor.uint64_val).extend(values.tolist())
    elif values.dtype == np.uint32:
        tensor.uint32_val.extend(values.tolist())
    elif kind in "iu":
        tensor.int_val.extend(values.tolist())
    else:  # float16, and bfloat16, which numpy does not know: their bits
        tensor.half_val.extend(values.view(np.uint16).tolist())


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    data.append(number)
    return bytes(data)
