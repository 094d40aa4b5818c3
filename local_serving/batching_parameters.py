"""What does a --batching_parameters_file say? The text proto that tensorflow_model_server reads, as a checked value.

The message (session_bundle_config.proto in TensorFlow Serving) is in no package on PyPI, so its fields are described
here, in a private pool; text proto names fields, so the names are all that has to agree. Defaults are those of the
server's SharedBatchScheduler. How batches are formed is batching's question.
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
"""Wrapped, so that a field that is not there differs from one that is 0."""
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

    max_batch_size: most rows of one request, and of one batch unless max_execution_batch_size says fewer.
    batch_timeout_micros: how long the first request of a batch waits for others, in microseconds.
    max_enqueued_batches: batches of one signature that may wait, the one being filled counted; beyond: UNAVAILABLE.
    num_batch_threads: batches that run at once, all models together.
    thread_pool_name: name of these threads.
    allowed_batch_sizes: a batch is filled up to the next of these with copies of a row; increasing; empty: any size.
    pad_variable_length_inputs: fills other dimensions up with the tensor's first element, not with "": leave it off.
    enable_large_batch_splitting: a request may be run in parts, which fill the batches up.
    max_execution_batch_size: most rows of one batch with splitting on; None: max_batch_size. A request that has more
      rows than max_batch_size is refused all the same, as tensorflow_model_server refuses it.
    Raises StartError.
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
        if sizes[-1] != self.max_batch_size:  # the sentence is TensorFlow Serving's
            raise StartError(
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{sizes[-1]}; expected {self.max_batch_size}"
            )

    @property
    def rows_per_batch(self) -> int:
        """Most rows that run together, before they are filled up to an allowed size."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size is not None:
            return self.max_execution_batch_size
        return self.max_batch_size


def parse(text: str) -> BatchingParameters:
    """The parameters of a text proto. Raises StartError, with line and column where there is one."""
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
    """The parameters of a file. Raises StartError, the path in front, also where it cannot be read."""
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
