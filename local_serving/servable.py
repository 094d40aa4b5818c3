"""One version of a model in memory: loaded into a session as tensorflow_model_server loads it, and run.

A session and not `tf.saved_model.load`, and the session's native call and not its `run`: those check and cast in
Python, where the server leaves dtypes to the session and shapes to the kernels, whose errors a client then sees.
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
    """What stands between requests and the session: nothing, or a batcher."""

    def run(
        self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str], timeout_s: float | None
    ) -> dict[str, Array]:
        """As LoadedModel.run_now."""

    def close(self) -> None:
        """No run is in flight any more, and none will come."""


class LoadedModel:
    """Thread-safe. signature_defs: name to SignatureDef, of serving_client's messages."""

    def __init__(
        self,
        name: str,
        version: int,
        path: Path,
        flags: Flags,
        make_runner: Callable[[Callable[..., dict[str, Array]]], Runner] | None = None,
    ) -> None:
        """Reads the SavedModel at `path`. make_runner: gets run_now, gives what runs go through.

        Raises Status, and whatever TensorFlow raises for files that are none of a model.
        """
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
        """Runs a signature; the names are its aliases.

        inputs: every input of the signature, each an array or a TensorProto; numeric dtypes as the signature has them,
        strings as object arrays of bytes. outputs: those wanted, () for all. timeout_s: None for no limit.
        Raises Status with the kernels' own code and message; DEADLINE_EXCEEDED after timeout_s, and the kernels stop.
        """
        arrays = {alias: self._array(alias, value) for alias, value in inputs.items()}
        wanted = tuple(outputs) or tuple(sorted(self.signature_defs[signature].outputs))
        run = self._runner.run if self._runner else self.run_now
        return run(signature, arrays, wanted, timeout_s)

    def run_now(
        self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str], timeout_s: float | None
    ) -> dict[str, Array]:
        """`run` for arrays alone, past the batcher: one run of the session."""
        described = self.signature_defs[signature]
        feeds = {self._tensor(described.inputs[alias].name): inputs[alias] for alias in sorted(described.inputs)}
        fetches = [self._tensor(described.outputs[alias].name) for alias in outputs]
        try:
            with self._options(timeout_s) as options:
                values = self._session._call_tf_sessionrun(options, feeds, fetches, [], None)
        except self._tf.errors.OpError as error:
            raise Status(of_number(error.error_code), error.message) from error
        except (TypeError, ValueError, RuntimeError) as error:  # what the bindings refuse before any kernel sees it
            raise Status(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        return {
            alias: np.array(value, object) if isinstance(value, bytes) else np.asarray(value)
            for alias, value in zip(outputs, values, strict=True)
        }

    def close(self) -> None:
        """Frees the session; the caller has seen to it that no run is in flight."""
        if self._runner:
            self._runner.close()
        self._session.close()

    def _tensor(self, name: str) -> Any:
        """The handle of a tensor of the graph; the signatures name them all, so that there are few."""
        handle = self._tensors.get(name)
        if handle is None:
            handle = self._tensors[name] = self._session.graph.get_tensor_by_name(name)._as_tf_output()
        return handle

    @contextlib.contextmanager
    def _options(self, timeout_s: float | None) -> Iterator[Any]:
        """RunOptions in native memory, None where there is nothing to say."""
        if timeout_s is None:
            yield None
            return
        # In milliseconds, where 0 would mean no limit.
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
    """A session with the graph of the SavedModel in it, and its signatures."""
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
        session._extend_graph()  # the native call does not; the graph stays as it is now
    except BaseException:
        session.close()
        raise
    described = {
        name: messages.SignatureDef.FromString(signature.SerializeToString())
        for name, signature in graph.signature_def.items()
    }
    return session, types.MappingProxyType(described)
