"""A daemon thread that calls a function again and again, also in the children of a fork.

No exception ends the thread. The thread ends with `close`, or when the program ends.
"""

from __future__ import annotations

import atexit
import math
import os
import random
import threading
import weakref
from collections.abc import Callable

__all__ = ["Background"]

# A wait is longer or shorter by up to this share, so that many processes do not ask a store at the same moment.
_JITTER = 0.2


class Background:
    """Calls `step` every `interval_s` seconds on average, at once after `start`, and after a wait in a forked child.

    Args:
        name: Name of the thread.
        step: What to do. A step should be short, or sleep in between, because other threads wait while it computes.
        failed: Called with an exception that `step` raised. It must not raise.
        forked: Called in a child process after a fork, before the thread of the child starts.
        interval_s: Seconds between the end of a step and the next one.
        rng: Draws the jitter. A child process seeds it again.

    Raises:
        ValueError: `interval_s` is not greater than 0, with which the thread would take the interpreter from others.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], None],
        *,
        failed: Callable[[Exception], None],
        forked: Callable[[], None],
        interval_s: float,
        rng: random.Random,
    ) -> None:
        if not 0 < interval_s < math.inf:
            raise ValueError(f"the interval of thread {name} is {interval_s} s; use seconds greater than 0")
        self._name, self._step, self._failed, self._forked = name, step, failed, forked
        self._interval_s, self._rng = interval_s, rng
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. Does nothing if it runs."""
        if self._thread is None:
            self._begin(wait_s=0.0)

    def close(self, timeout_s: float = 1.0) -> None:
        """End the thread. Idempotent.

        Args:
            timeout_s: Seconds to wait for the running step. A step that waits for a store ends later by itself.
        """
        _RUNNING.discard(self)
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    @property
    def is_closing(self) -> bool:
        """Whether a long step should end early."""
        return self._stop.is_set()

    def restart_in_child(self) -> None:
        """Start a thread of this process instead of the parent's, which does not exist here."""
        self._rng.seed()
        self._forked()
        self._begin(wait_s=self._wait_s())  # meanwhile others, too, replace the locks that they held at the fork

    def _begin(self, wait_s: float) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._stop, wait_s), name=self._name, daemon=True)
        _RUNNING.add(self)
        self._thread.start()

    def _run(self, stop: threading.Event, wait_s: float) -> None:
        while not stop.wait(wait_s):
            try:
                self._step()
            except Exception as error:
                self._failed(error)
            wait_s = self._wait_s()

    def _wait_s(self) -> float:
        return self._interval_s * self._rng.uniform(1 - _JITTER, 1 + _JITTER)


_RUNNING: weakref.WeakSet[Background] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for background in list(_RUNNING):
        background.restart_in_child()


def _at_exit() -> None:
    for background in list(_RUNNING):
        background.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
