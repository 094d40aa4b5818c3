"""One way to call both clients, so that one suite runs on each: `Driver.client(…)` blocks, whatever is behind it.

The asynchronous one runs a loop in a thread of its own, and hands every method call to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading

import serving_client
from serving_client import aio

WAIT_S = 30.0
"""No call of a test may take longer; one that hangs fails here."""


class SyncDriver:
    """serving_client.Client as it is."""

    name = "sync"

    def client(self, *arguments, **settings):
        return serving_client.Client(*arguments, **settings)

    def end(self):
        pass


class AioDriver:
    """aio.Client on a loop in a thread."""

    name = "aio"

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def client(self, *arguments, **settings):
        return _Blocking(aio.Client(*arguments, **settings), self.loop)

    def end(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class _Blocking:
    """A client whose coroutines are run to their end."""

    def __init__(self, client, loop) -> None:
        self._client, self._loop = client, loop

    def __getattr__(self, name):
        found = getattr(self._client, name)
        if not inspect.iscoroutinefunction(found):
            return found
        return lambda *arguments, **named: self._run(found(*arguments, **named))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def __repr__(self):
        return repr(self._client)

    def _run(self, coroutine):
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(WAIT_S)
        finally:
            with contextlib.suppress(Exception):
                future.cancel()
