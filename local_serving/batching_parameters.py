"""Read a --batching_parameters_file, the text proto of tensorflow_model_server, as a checked value.

No package on PyPI has the message (session_bundle_config.proto of TensorFlow Serving). So its fields are described
here, in a private descriptor pool. Text protos name their fields, so only the names have to agree. Defaults are those
of the server's SharedBatchScheduler. `batching` forms the batches.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from local_serving.errors import StartError

__all__ = ["BatchingParameters", "parse", "read"]

INT64, BOOL, STRING = ".google.protobuf.Int64Value", ".google.protobuf.BoolValue", ".google.protobuf.StringValue"
"""Wrapped types, so that a field that is not set differs from 0."""
WRAPPED = {
    "max_batch_size": INT64,
    "batch_timeout_micros": INT64,
    "max_enqueued_batches": INT64,
    "num_batch_threads": INT64,
    "thread_pool_name": STRING,
    "enable_large_batch_splitting": BOOL,
    "max_execution_batch_size": INT64,
}
AT_LEAST = {"max_batch_size": 1, "batch_timeout_micros": 0, "max_enqueued_batches": 1, "num_batch_threads": 1}


@dataclasses.dataclass(frozen=True)
class BatchingParameters:
    """How requests are joined.

    Attributes:
        max_batch_size: Most rows of one request, and of one batch unless max_execution_batch_size is smaller.
        batch_timeout_micros: How long the first request of a batch waits for others, in microseconds.
        max_enqueued_batches: How many batches of one signature may wait, including the open one. A request beyond this
            gets UNAVAILABLE.
        num_batch_threads: How many batches run at once, over all models.
        thread_pool_name: Name of these threads.
        allowed_batch_sizes: Increasing. A batch is filled up to the next of these sizes with copies of a row. Empty
            allows any size.
        pad_variable_length_inputs: Fill up other dimensions. The filling is the tensor's first element and not "", so
            leave this off.
        enable_large_batch_splitting: Run a request in parts, which fill up batches.
        max_execution_batch_size: Most rows of one batch if splitting is on. None uses max_batch_size. As in
            tensorflow_model_server, a request with more than max_batch_size rows is still rejected.

    Raises:
        StartError: A value is out of range.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    thread_pool_name: str = "model_server_batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None

    def __post_init__(self) -> None:
        for name, least in AT_LEAST.items():
            value = getattr(self, name)
            if value < least:
                raise StartError(f"{name} is {value}; it must be {least} or more")
        largest = self.max_execution_batch_size
        if largest is not None and not 1 <= largest <= self.max_batch_size:
            raise StartError(
                f"max_execution_batch_size is {largest}; it must be between 1 and max_batch_size, {self.max_batch_size}"
            )
        sizes = self.allowed_batch_sizes
        if not sizes:
            return
        if sizes[0] < 1 or list(sizes) != sorted(set(sizes)):
            raise StartError(
                f"allowed_batch_sizes entries must be monotonically increasing; they are {', '.join(map(str, sizes))}"
            )
        if sizes[-1] != self.max_batch_size:  # TensorFlow Serving's message
            raise StartError(
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{sizes[-1]}; expected {self.max_batch_size}"
            )

    @property
    def rows_per_batch(self) -> int:
        """Most rows that run together, before filling up to an allowed size."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size is not None:
            return self.max_execution_batch_size
        return self.max_batch_size


def parse(text: str) -> BatchingParameters:
    """Parse the parameters from a text proto. Raise StartError, with line and column if known."""
    message = _Message()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise StartError(f"{error}") from error
    values: dict[str, Any] = {name: getattr(message, name).value for name in WRAPPED if message.HasField(name)}
    values["allowed_batch_sizes"] = tuple(message.allowed_batch_sizes)
    values["pad_variable_length_inputs"] = message.pad_variable_length_inputs
    return BatchingParameters(**values)


def read(path: str | os.PathLike[str]) -> BatchingParameters:
    """Read the parameters from a file. Raise StartError, with the path, if the file is not valid or not readable."""
    try:
        return parse(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise StartError(f"{os.fspath(path)}: cannot be read ({reason}); check --batching_parameters_file") from error
    except StartError as error:
        raise StartError(f"{os.fspath(path)}: {error}") from error


def _message() -> Any:
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="recbeam/batching_parameters.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    described = file.message_type.add(name="BatchingParameters")
    number = 0
    for number, (name, wrapper) in enumerate(WRAPPED.items(), start=1):
        described.field.add(
            name=name, number=number, label=kind.LABEL_OPTIONAL, type=kind.TYPE_MESSAGE, type_name=wrapper
        )
    described.field.add(name="allowed_batch_sizes", number=number + 1, label=kind.LABEL_REPEATED, type=kind.TYPE_INT64)
    described.field.add(
        name="pad_variable_length_inputs", number=number + 2, label=kind.LABEL_OPTIONAL, type=kind.TYPE_BOOL
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.serving.BatchingParameters"))


_Message = _message()
