"""Run batches in a fixed number of threads that all models of a server share. Queues take turns.

One lock guards all queues. It is not held while a batch runs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import grpc

from local_serving.batch_queue import BatchQueue, PendingBatch, Task
from local_serving.batching_parameters import BatchingParameters
from local_serving.errors import Status

__all__ = ["BatchThreads"]

Process = Callable[[PendingBatch], None]


class BatchThreads:
    """A pool of num_batch_threads threads, which run while there are queues to serve.

    Args:
        parameters: Number and name of the threads.
        clock: Returns the time in seconds.
    """

    def __init__(self, parameters: BatchingParameters, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._parameters = parameters
        self._changed = threading.Condition()
        self._queues: list[tuple[BatchQueue, Process]] = []
        self._running: dict[BatchQueue, int] = {}
        self._next = 0
        self._alive = 0

    def add(self, queue: BatchQueue, process: Process) -> None:
        """Serve a queue until it is drained. `process` runs each batch in a thread of the pool, and must not raise."""
        with self._changed:
            self._queues.append((queue, process))
            self._running[queue] = 0
            while self._alive < self._parameters.num_batch_threads:
                self._alive += 1
                threading.Thread(target=self._work, name=self._parameters.thread_pool_name, daemon=True).start()

    def put(self, queue: BatchQueue, task: Task) -> None:
        """Put a task into a queue. Raise Status as `BatchQueue.put` does, or UNAVAILABLE if the queue was drained."""
        with self._changed:
            if queue not in self._running:
                raise Status(grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue is closed")
            queue.put(task)
            self._changed.notify_all()

    def drain(self, queue: BatchQueue) -> None:
        """Run the waiting tasks of a queue at once, wait until they are answered, and stop serving the queue."""
        with self._changed:
            queue.close()
            self._changed.notify_all()
            self._changed.wait_for(lambda: queue.empty and not self._running[queue])
            self._queues = [entry for entry in self._queues if entry[0] is not queue]
            del self._running[queue]
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                while (found := self._take()) is None:
                    if not self._queues:
                        self._alive -= 1
                        return
                    self._changed.wait(self._wait_s())
                queue, process, batch = found
                self._running[queue] += 1
            process(batch)
            with self._changed:
                self._running[queue] -= 1
                self._changed.notify_all()

    def _take(self) -> tuple[BatchQueue, Process, PendingBatch] | None:
        """Return a batch of the first queue in turn that has one due."""
        now = self.clock()
        for offset in range(len(self._queues)):
            number = (self._next + offset) % len(self._queues)
            queue, process = self._queues[number]
            batch = queue.take(now)
            if batch is not None:
                self._next = number + 1
                return queue, process, batch
        return None

    def _wait_s(self) -> float | None:
        """Return the seconds until the next batch is due. None if nothing waits."""
        due = [at for queue, _ in self._queues if (at := queue.due_at) is not None]
        return max(0.0, min(due) - self.clock()) if due else None
