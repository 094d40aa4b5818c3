"""Join the tensors of several requests into one batch, and cut the batch's results apart. Arrays in, arrays out.

Messages and order of checks are TensorFlow Serving's, so a client gets the same errors from both servers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import grpc
import numpy as np
import numpy.typing as npt

from local_serving.errors import Status

__all__ = ["Array", "common_rows", "cut", "join"]

Array = npt.NDArray[Any]
DTYPES = {"float32": "float", "float64": "double", "float16": "half", "object": "string"}
"""TensorFlow's dtype names that differ from numpy's."""


def common_rows(inputs: Mapping[str, Array]) -> int:
    """Return the size of the 0th dimension that all inputs share.

    Raises:
        Status: INVALID_ARGUMENT if the inputs do not share one.
    """
    if not inputs:
        _invalid("Batching Run() must have at least one input tensor")
    shapes = [array.shape for array in inputs.values()]
    if not all(shapes):
        _invalid("Batching Run() input tensors must have at least one dimension")
    if len({shape[0] for shape in shapes}) > 1:
        _invalid("Batching Run() input tensors must have equal 0th-dimension size")
    return int(shapes[0][0])


def join(requests: Sequence[Mapping[str, Array]], size: int, pad: bool) -> dict[str, Array]:
    """Concatenate requests along the 0th dimension, and fill up to `size` rows with copies of a row.

    The row is the first row of the last request.

    Args:
        requests: Inputs by name; all requests have the same names.
        size: Rows of the result.
        pad: Whether to grow the other dimensions to the largest size among the requests, filled with each tensor's
            first element.

    Raises:
        Status: FAILED_PRECONDITION for different shapes, INTERNAL for different types, INVALID_ARGUMENT if there is no
            element or row to fill with.
    """
    return {name: _join(name, [request[name] for request in requests], size, pad) for name in requests[0]}


def cut(results: Mapping[str, Array], rows: Sequence[int], size: int) -> list[dict[str, Array]]:
    """Split results into those of each request, as views. Rows that filled up the batch are dropped.

    Args:
        results: Results of the batch by name.
        rows: Rows of each request.
        size: Rows of the batch.

    Raises:
        Status: FAILED_PRECONDITION if a result does not have `size` rows.
    """
    for array in results.values():
        if array.ndim == 0:
            raise Status(grpc.StatusCode.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
        if array.shape[0] != size:
            raise Status(
                grpc.StatusCode.FAILED_PRECONDITION,
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors",
            )
    ends = np.cumsum(rows, dtype=np.int64)
    return [
        {name: array[end - count : end] for name, array in results.items()}
        for count, end in zip(rows, ends, strict=True)
    ]


def _join(name: str, arrays: list[Array], size: int, pad: bool) -> Array:
    if pad:
        arrays = _padded(name, arrays)
    elif any(array.shape[1:] != arrays[0].shape[1:] for array in arrays):
        raise Status(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"Tensors with name '{name}' from different tasks have different shapes and padding is turned off."
            "Set pad_variable_length_inputs to true, or ensure that all tensors with the same name"
            "have equal dimensions starting with the first dim.",
        )
    for array in arrays:
        if array.dtype != arrays[0].dtype:
            _internal(
                "Cannot concatenate tensors that have different data types. Got "
                f"{_dtype_name(arrays[0])} and {_dtype_name(array)}."
            )
    missing = size - sum(array.shape[0] for array in arrays)
    if missing:
        last = arrays[-1]
        if not last.shape[0]:
            _invalid(
                "Cannot use an empty tensor with zero rows as padding when batching. "
                f"(Input {name} got shape [{','.join(map(str, last.shape))}].)"
            )
        arrays = [*arrays, np.repeat(last[:1], missing, axis=0)]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _padded(name: str, arrays: list[Array]) -> list[Array]:
    if len({array.ndim for array in arrays}) > 1:
        _internal(f"Tensors with name '{name}' have different ranks")
    widest = tuple(max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays), strict=True))
    return [_pad(name, array, widest) for array in arrays]


def _pad(name: str, array: Array, widest: tuple[int, ...]) -> Array:
    if array.shape[1:] == widest:
        return array
    if not array.size:
        _invalid(f"Cannot pad an empty tensor when batching. (Input {name} got shape {list(array.shape)}.)")
    grown = np.full((array.shape[0], *widest), array.flat[0], dtype=array.dtype)
    grown[tuple(slice(0, length) for length in array.shape)] = array
    return grown


def _dtype_name(array: Array) -> str:
    return DTYPES.get(array.dtype.name, array.dtype.name)


def _invalid(message: str) -> NoReturn:
    raise Status(grpc.StatusCode.INVALID_ARGUMENT, message)


def _internal(message: str) -> NoReturn:
    raise Status(grpc.StatusCode.INTERNAL, f"Tensor concat operation failed: INVALID_ARGUMENT: {message}")
