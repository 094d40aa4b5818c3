"""Load one version of a model into a TensorFlow session, like tensorflow_model_server, and run it.

This uses a session instead of `tf.saved_model.load`, and the session's native call instead of its `run`. Both
alternatives check and cast in Python. The real server leaves dtypes to the session and shapes to the kernels, and a
client sees the errors of the kernels.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import grpc
import numpy as np

from local_serving.errors import Status, of_number
from local_serving.flags import Flags
from local_serving.tensorflow import import_tensorflow
from serving_client import codec
from serving_client.protocol import messages

__all__ = ["LoadedModel", "Runner"]

Array = np.ndarray[Any, np.dtype[Any]]
"""Any numeric dtype, or object for strings, whose elements are bytes."""


class Runner(Protocol):
    """Runs requests between the caller and the session, for example a batcher."""

    def run(
        self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str], timeout_s: float | None
    ) -> dict[str, Array]:
        """Run a signature, as LoadedModel.run_now does."""

    def close(self) -> None:
        """Release resources. No run is in flight, and none will start."""


class LoadedModel:
    """A model version in memory. Thread-safe.

    Args:
        name: Name of the model.
        version: Version number.
        path: Folder of the SavedModel.
        flags: The server's flags.
        make_runner: Gets `run_now` and returns the runner that calls go through. None calls `run_now` directly.

    Attributes:
        signature_defs: SignatureDef by name, in serving_client's messages.

    Raises:
        Status: There is no SavedModel at `path`. TensorFlow raises its own errors for damaged files.
    """

    def __init__(
        self,
        name: str,
        version: int,
        path: Path,
        flags: Flags,
        make_runner: Callable[[Callable[..., dict[str, Array]]], Runner] | None = None,
    ) -> None:
        # The class docstring describes the arguments.
        self.name, self.version, self.path = name, version, path
        self._tf = import_tensorflow()
        self._session, self.signature_defs = _load(self._tf, path, flags)
        self._runner = make_runner(self.run_now) if make_runner else None
        self._tensors: dict[str, Any] = {}

    def run(
        self,
        signature: str,
        inputs: Mapping[str, Any],
        outputs: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        """Run a signature.

        Args:
            signature: Name of the signature.
            inputs: Every input of the signature by alias, as an array or a TensorProto. Numbers have the signature's
                dtype. Strings are object arrays of bytes.
            outputs: Aliases of the outputs to compute. () computes all.
            timeout_s: Timeout in seconds, or None.

        Returns:
            Arrays by alias.

        Raises:
            Status: The kernels failed, with their code and message. DEADLINE_EXCEEDED after timeout_s; then the kernels
                stop.
        """
        arrays = {alias: self._array(alias, value) for alias, value in inputs.items()}
        wanted = tuple(outputs) or tuple(sorted(self.signature_defs[signature].outputs))
        run = self._runner.run if self._runner else self.run_now
        return run(signature, arrays, wanted, timeout_s)

    def run_now(
        self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str], timeout_s: float | None
    ) -> dict[str, Array]:
        """Run a signature in the session at once, without the runner. Inputs must be arrays."""
        described = self.signature_defs[signature]
        feeds = {self._tensor(described.inputs[alias].name): inputs[alias] for alias in sorted(described.inputs)}
        fetches = [self._tensor(described.outputs[alias].name) for alias in outputs]
        try:
            with self._options(timeout_s) as options:
                values = self._session._call_tf_sessionrun(options, feeds, fetches, [], None)
        except self._tf.errors.OpError as error:
            raise Status(of_number(error.error_code), error.message) from error
        except (TypeError, ValueError, RuntimeError) as error:  # the bindings reject it before any kernel runs
            raise Status(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        return {
            alias: np.array(value, object) if isinstance(value, bytes) else np.asarray(value)
            for alias, value in zip(outputs, values, strict=True)
        }

    def close(self) -> None:
        """Free the session. The caller ensures that no run is in flight."""
        if self._runner:
            self._runner.close()
        self._session.close()

    def _tensor(self, name: str) -> Any:
        """Return the handle of a tensor of the graph. Only tensors of signatures are kept, so there are few."""
        handle = self._tensors.get(name)
        if handle is None:
            handle = self._tensors[name] = self._session.graph.get_tensor_by_name(name)._as_tf_output()
        return handle

    @contextlib.contextmanager
    def _options(self, timeout_s: float | None) -> Iterator[Any]:
        """Give RunOptions in native memory, or None if there is no timeout."""
        if timeout_s is None:
            yield None
            return
        # In milliseconds. 0 would mean no limit.
        options = self._tf.compat.v1.RunOptions(timeout_in_ms=max(1, min(int(timeout_s * 1000), 2**31 - 1)))
        native = importlib.import_module("tensorflow.python.client.pywrap_tf_session")
        buffer = native.TF_NewBufferFromString(options.SerializeToString())
        try:
            yield buffer
        finally:
            native.TF_DeleteBuffer(buffer)

    @staticmethod
    def _array(alias: str, value: Any) -> Array:
        if isinstance(value, np.ndarray):
            return value
        try:
            array: Array = codec.to_array(value)
        except codec.CodecError as error:
            raise Status(grpc.StatusCode.INVALID_ARGUMENT, f"tensor parsing error: {alias}") from error
        return array


def _load(tf: Any, path: Path, flags: Flags) -> tuple[Any, Mapping[str, Any]]:
    """Return a session with the graph of the SavedModel, and its signatures."""
    if not any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        raise Status(
            grpc.StatusCode.NOT_FOUND,
            f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {os.fspath(path)}. Check that"
            " the directory exists and that you have the right permissions for accessing it.",
        )
    both = flags.tensorflow_session_parallelism
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=flags.tensorflow_intra_op_parallelism or both,
        inter_op_parallelism_threads=flags.tensorflow_inter_op_parallelism or both,
    )
    config.gpu_options.per_process_gpu_memory_fraction = flags.per_process_gpu_memory_fraction
    session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
    try:
        with session.graph.as_default():
            graph = tf.compat.v1.saved_model.load(session, flags.saved_model_tags.split(","), os.fspath(path))
        session._extend_graph()  # the native call does not do this; the graph does not change afterwards
    except BaseException:
        session.close()
        raise
    described = {
        name: messages.SignatureDef.FromString(signature.SerializeToString())
        for name, signature in graph.signature_def.items()
    }
    return session, types.MappingProxyType(described)
