"""Decide which waiting requests run together and when, like TensorFlow Serving's SharedBatchScheduler.

A queue holds the requests of one signature in batches. Closed batches wait for a thread. Further requests join the open
batch at the end. Time is an argument, in seconds of any clock. There are no threads and no locks here: batch_threads
holds the lock. The content of a request is never read.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from local_serving.batching_parameters import BatchingParameters
from local_serving.errors import Status

__all__ = ["BatchQueue", "PendingBatch", "Task"]


@dataclasses.dataclass
class Task:
    """A request that waits, or a part of one.

    Attributes:
        rows: Size of the 0th dimension.
        enqueued_at: When the request came, in seconds of the queue's clock.
        deadline: When the request times out, in seconds of the queue's clock. None if it has no deadline.
        split: Returns parts of this task, given the rows of each part. Called only if large requests are split.
        payload: Whatever the owner needs to run the request.
    """

    rows: int
    enqueued_at: float
    deadline: float | None
    split: Callable[[Task, Sequence[int]], list[Task]]
    payload: Any


@dataclasses.dataclass
class PendingBatch:
    """Tasks that run together, in order of arrival. `rows` is the sum of their rows."""

    tasks: list[Task] = dataclasses.field(default_factory=list)
    rows: int = 0


class BatchQueue:
    """The batches of one signature of one version. Not thread-safe.

    Args:
        parameters: Limits and timeouts of batches.
    """

    def __init__(self, parameters: BatchingParameters) -> None:
        self._parameters = parameters
        self._batches: deque[PendingBatch] = deque([PendingBatch()])
        self._open_since = 0.0
        self._closed = False

    @property
    def empty(self) -> bool:
        """Whether no request waits."""
        return len(self._batches) == 1 and not self._batches[-1].tasks

    def put(self, task: Task) -> None:
        """Add a request. If this raises, the queue is unchanged.

        Raises:
            Status: INVALID_ARGUMENT if the request has more than max_batch_size rows. UNAVAILABLE if the request needs
                a new batch and the queue is full.
        """
        parameters = self._parameters
        if task.rows > parameters.max_batch_size:
            raise Status(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Task size {task.rows} is larger than maximum input batch size {parameters.max_batch_size}",
            )
        for one in self._split(task) if parameters.enable_large_batch_splitting else self._whole(task):
            if self._batches[-1].rows + one.rows > parameters.rows_per_batch:
                self._batches.append(PendingBatch())
            batch = self._batches[-1]
            if not batch.tasks:
                self._open_since = one.enqueued_at
            batch.tasks.append(one)
            batch.rows += one.rows

    def take(self, now: float) -> PendingBatch | None:
        """Remove and return the next batch to run. None if the only batch is open, not full, and may wait longer."""
        due_at = self.due_at
        if due_at is None or due_at > now:
            return None
        batch = self._batches.popleft()
        if not self._batches:
            self._batches.append(PendingBatch())
        return batch

    @property
    def due_at(self) -> float | None:
        """When `take` returns a batch if no request comes. 0 means at once, None means never."""
        if self.empty:
            return None
        full = self._batches[-1].rows >= self._parameters.rows_per_batch
        if len(self._batches) > 1 or full or self._closed:
            return 0.0
        return self._open_since + self._parameters.batch_timeout_micros / 1e6

    def close(self) -> None:
        """Stop waiting for further requests: every batch is due at once."""
        self._closed = True

    def _whole(self, task: Task) -> list[Task]:
        count, most = len(self._batches), self._parameters.max_enqueued_batches
        if self._batches[-1].rows + task.rows > self._parameters.max_batch_size and count >= most:
            raise _full(f"currently {count} batches enqueued and max_enqueued_batches is {most}")
        return [task]

    def _split(self, task: Task) -> list[Task]:
        count, most, rows = len(self._batches), self._parameters.max_enqueued_batches, self._parameters.rows_per_batch
        last = self._batches[-1].rows
        capacity = (most - count) * rows + rows - last
        if task.rows > capacity:
            raise _full(
                f"task size is {task.rows} but scheduling capacity is only {capacity} (num_enqueued_batches={count}, "
                f"max_enqueued_batches={most}, open_batch_size={last}, max_execution_batch_size={rows}, )"
            )
        parts, left, room = [], task.rows, (rows - last) or rows
        while left:
            parts.append(min(left, room))
            left, room = left - parts[-1], rows
        return task.split(task, parts) if len(parts) > 1 else [task]


def _full(details: str) -> Status:
    message = f"The batch scheduling queue to which this task was submitted is full; {details}"
    return Status(grpc.StatusCode.UNAVAILABLE, message)
