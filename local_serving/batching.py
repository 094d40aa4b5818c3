"""How do requests of many clients run as one? `--enable_batching`: joined along the 0th dimension, and cut apart.

As TensorFlow Serving's BatchingSession does it: only requests of one signature with the same inputs and outputs are
joined, and a batch that fails, fails for each of its requests. When a batch forms is batch_queue's question, who runs
it batch_threads', what becomes of the tensors batch_tensors'.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable, Mapping, Sequence

import grpc
import numpy as np

from local_serving import batching_parameters
from local_serving.batch_queue import Batch, BatchQueue, Task
from local_serving.batch_tensors import Array, common_rows, cut, join
from local_serving.batch_threads import BatchThreads
from local_serving.batching_parameters import BatchingParameters
from local_serving.errors import Status
from local_serving.flags import Flags

__all__ = ["Batcher", "make_batchers"]

Run = Callable[[str, Mapping[str, Array], Sequence[str], float | None], dict[str, Array]]
Key = tuple[str, frozenset[str], frozenset[str]]


def make_batchers(flags: Flags) -> Callable[[Run], Batcher]:
    """Gives the `run` of a version its batcher; all share their threads. Raises StartError for a file that is none."""
    file = flags.batching_parameters_file
    parameters = batching_parameters.read(file) if file else BatchingParameters()
    threads = BatchThreads(parameters)
    return lambda run: Batcher(parameters, run, threads)


class Batcher:
    """Runs the requests of one version through `threads`, joined; `run` is called as the one that it wraps.

    run: (signature, inputs, outputs, timeout_s) -> outputs by name; called from several threads at once.
    threads: shared by all versions of a server; None: threads of its own.
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
        """Waits for a batch and for its results; those of this request, [rows, …] each.

        timeout_s: None or 0 for none. Raises whatever `run` raises for the batch, and Status: INVALID_ARGUMENT
        for inputs without a common 0th dimension or with more rows than a batch, UNAVAILABLE for a full queue,
        RESOURCE_EXHAUSTED where the time of all requests of a batch was over before it ran, FAILED_PRECONDITION for
        shapes that cannot be joined or cut.
        """
        rows = common_rows(inputs)
        now = self._threads.clock()
        request = _Request(inputs)
        task = Task(rows, now, now + timeout_s if timeout_s else None, _split, request)
        self._threads.put(self._queue((signature, frozenset(inputs), frozenset(outputs))), task)
        return request.wait()

    def close(self) -> None:
        """Answers what waits; requests after that are UNAVAILABLE."""
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

    def _process(self, key: Key, batch: Batch) -> None:
        """Runs a batch and tells each of its requests; never raises."""
        requests: list[_Request] = [task.payload for task in batch.tasks]
        signature, _, outputs = key
        try:
            timeout_s = _timeout_s(batch, self._threads.clock())
            size = _allowed_size(batch.rows, self._parameters.allowed_batch_sizes)
            pad = self._parameters.pad_variable_length_inputs
            inputs = join([request.inputs for request in requests], size, pad)
            results = self._run(signature, inputs, sorted(outputs), timeout_s)
            parts = cut(results, [task.rows for task in batch.tasks], size)
        except BaseException as error:  # whatever it is, somebody waits for it in another thread
            for request in requests:
                request.fail(error)
            return
        for request, part in zip(requests, parts, strict=True):
            request.finish(part)


class _Request:
    """A caller that waits: for one batch, or for as many as its request was split into."""

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
    """Tasks of these rows each, in order; the request's `wait` joins their results."""
    request: _Request = task.payload
    request.parts = [_Request(part) for part in cut(request.inputs, rows, task.rows)]
    return [
        dataclasses.replace(task, rows=count, payload=part) for count, part in zip(rows, request.parts, strict=True)
    ]


def _timeout_s(batch: Batch, now: float) -> float | None:
    """What is left of the latest deadline, None if a task has none. Raises Status if every deadline is over."""
    deadlines = [task.deadline for task in batch.tasks if task.deadline is not None]
    if len(deadlines) < len(batch.tasks):
        return None
    if max(deadlines) <= now:
        raise Status(grpc.StatusCode.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")
    return max(deadlines) - now


def _allowed_size(rows: int, sizes: Sequence[int]) -> int:
    return next((size for size in sizes if size >= rows), rows)
