"""Answer Predict with the checks and messages of predict_util.cc.

The checks run in the same order, so a request with two mistakes gets the same message from both servers. Shapes are not
checked. The client gets the errors of TensorFlow's kernels.
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
    """Return the PredictResponse to a PredictRequest.

    Args:
        core: The server.
        request: The request.
        timeout_s: Timeout of the run in seconds.
        as_content: Put numbers and strings into `tensor_content` instead of `float_val` and the other fields.

    Raises:
        Status: The request is not valid, or the run failed.
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
    """Fill a TensorProto as the server does (Tensor::AsProtoField or AsProtoTensorContent).

    Args:
        tensor: TensorProto to fill.
        array: The values. Strings are object arrays of bytes.
        dtype: Number of a tensorflow.DataType.
        as_content: Use `tensor_content`.
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
    else:  # the bits of float16, and of bfloat16, which numpy lacks
        tensor.half_val.extend(values.view(np.uint16).tolist())


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    data.append(number)
    return bytes(data)
