"""Run requests of many clients as one (`--enable_batching`): join them along the 0th dimension, then cut the results.

The behavior is that of TensorFlow Serving's BatchingSession. Only requests of one signature with the same inputs and
outputs are joined. If a batch fails, each of its requests fails. batch_queue decides when a batch forms, batch_threads
runs it, and batch_tensors joins and cuts the tensors.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable, Mapping, Sequence

import grpc
import numpy as np

from local_serving import batching_parameters
from local_serving.batch_queue import BatchQueue, PendingBatch, Task
from local_serving.batch_tensors import Array, common_rows, cut, join
from local_serving.batch_threads import BatchThreads
from local_serving.batching_parameters import BatchingParameters
from local_serving.errors import Status
from local_serving.flags import Flags

__all__ = ["Batcher", "make_batchers"]

Run = Callable[[str, Mapping[str, Array], Sequence[str], float | None], dict[str, Array]]
Key = tuple[str, frozenset[str], frozenset[str]]


def make_batchers(flags: Flags) -> Callable[[Run], Batcher]:
    """Return a function that makes the batcher of a version. All batchers share their threads.

    Raises:
        StartError: The batching parameters file cannot be read or is not valid.
    """
    file = flags.batching_parameters_file
    parameters = batching_parameters.read(file) if file else BatchingParameters()
    threads = BatchThreads(parameters)
    return lambda run: Batcher(parameters, run, threads)


class Batcher:
    """Joins the requests of one version and runs them. `run` has the same arguments as the function that it wraps.

    Args:
        parameters: Limits and timeouts of batches.
        run: (signature, inputs, outputs, timeout_s) -> outputs by name. Called from several threads at once.
        threads: Threads that all versions of a server share. None creates threads for this batcher.
    """

    def __init__(self, parameters: BatchingParameters, run: Run, threads: BatchThreads | None = None) -> None:
        self._parameters = parameters
        self._run = run
        self._threads = threads or BatchThreads(parameters)
        self._lock = threading.Lock()
        self._queues: dict[Key, BatchQueue] | None = {}

    def run(
        self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str], timeout_s: float | None
    ) -> dict[str, Array]:
        """Wait for a batch and its results, and return the results of this request.

        Args:
            signature: Name of the signature.
            inputs: Arrays by name, with a common 0th dimension.
            outputs: Names of the outputs.
            timeout_s: Timeout in seconds. None or 0 means none.

        Returns:
            Arrays by name, [rows, …] each.

        Raises:
            Status: INVALID_ARGUMENT for inputs without a common 0th dimension or with more rows than a batch.
                UNAVAILABLE for a full queue. RESOURCE_EXHAUSTED if all requests of a batch timed out before it ran.
                FAILED_PRECONDITION for shapes that cannot be joined or cut. Otherwise the error of `run`.
        """
        rows = common_rows(inputs)
        now = self._threads.clock()
        request = _Request(inputs)
        task = Task(rows, now, now + timeout_s if timeout_s else None, _split, request)
        self._threads.put(self._queue((signature, frozenset(inputs), frozenset(outputs))), task)
        return request.wait()

    def close(self) -> None:
        """Answer the waiting requests. Later requests get UNAVAILABLE."""
        with self._lock:
            queues = self._queues or {}
            self._queues = None
        for queue in queues.values():
            self._threads.drain(queue)

    def _queue(self, key: Key) -> BatchQueue:
        with self._lock:
            if self._queues is None:
                raise Status(grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue is closed")
            queue = self._queues.get(key)
            if queue is None:
                queue = self._queues[key] = BatchQueue(self._parameters)
                self._threads.add(queue, functools.partial(self._process, key))
            return queue

    def _process(self, key: Key, batch: PendingBatch) -> None:
        """Run a batch and pass each request its result or the error. Never raises."""
        requests: list[_Request] = [task.payload for task in batch.tasks]
        signature, _, outputs = key
        try:
            timeout_s = _timeout_s(batch, self._threads.clock())
            size = _allowed_size(batch.rows, self._parameters.allowed_batch_sizes)
            pad = self._parameters.pad_variable_length_inputs
            inputs = join([request.inputs for request in requests], size, pad)
            results = self._run(signature, inputs, sorted(outputs), timeout_s)
            parts = cut(results, [task.rows for task in batch.tasks], size)
        except BaseException as error:  # a caller waits for the result in another thread
            for request in requests:
                request.fail(error)
            return
        for request, part in zip(requests, parts, strict=True):
            request.finish(part)


class _Request:
    """A caller that waits for one batch, or for several if its request was split."""

    def __init__(self, inputs: Mapping[str, Array]) -> None:
        self.inputs = inputs
        self.parts: list[_Request] = []
        self._done = threading.Event()
        self._result: dict[str, Array] = {}
        self._error: BaseException | None = None

    def finish(self, result: dict[str, Array]) -> None:
        self._result = result
        self._done.set()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._done.set()

    def wait(self) -> dict[str, Array]:
        if self.parts:
            results = [part.wait() for part in self.parts]
            return {name: np.concatenate([result[name] for result in results]) for name in results[0]}
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._result


def _split(task: Task, rows: Sequence[int]) -> list[Task]:
    """Split a task into tasks of these rows, in order. The request's `wait` joins their results."""
    request: _Request = task.payload
    request.parts = [_Request(part) for part in cut(request.inputs, rows, task.rows)]
    return [
        dataclasses.replace(task, rows=count, payload=part) for count, part in zip(rows, request.parts, strict=True)
    ]


def _timeout_s(batch: PendingBatch, now: float) -> float | None:
    """Return the time until the latest deadline, None if a task has none. Raise Status if all deadlines passed."""
    deadlines = [task.deadline for task in batch.tasks if task.deadline is not None]
    if len(deadlines) < len(batch.tasks):
        return None
    if max(deadlines) <= now:
        raise Status(grpc.StatusCode.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")
    return max(deadlines) - now


def _allowed_size(rows: int, sizes: Sequence[int]) -> int:
    return next((size for size in sizes if size >= rows), rows)
