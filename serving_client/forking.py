"""May this process still use gRPC after it was forked? A client of an idle parent may; every other gets a clear error.

gRPC prepares itself for a fork only while no thread is inside it: a blocking call under way is one, and the thread of
grpc.aio, which lives as long as a channel does, is always one. Children of such forks were seen to crash (4 of 40 by
SIGSEGV, or by a failed check in gRPC), so there no request is sent at all.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable

from serving_client.errors import ClientClosed

__all__ = ["check", "watch"]


_watched: list[weakref.WeakMethod[Callable[[], bool]]] = []
_state = {"spoilt": False}


def watch(forked: Callable[[], bool]) -> None:
    """A bound method to call in every child from now on, as long as its object lives.

    It lets go of the parent's connections, and says whether gRPC was in use at that moment.
    """
    _watched[:] = [*(reference for reference in _watched if reference() is not None), weakref.WeakMethod(forked)]


def check() -> None:
    """Raises ClientClosed in a child that cannot use gRPC."""
    if _state["spoilt"]:
        raise ClientClosed(
            "this process was forked while gRPC was in use, which gRPC does not survive; fork before the first call, "
            "close asynchronous clients before forking, or start processes by spawn"
        )


def _after_fork() -> None:
    for reference in _watched:
        forked = reference()
        if forked is not None and forked():
            _state["spoilt"] = True


os.register_at_fork(after_in_child=_after_fork)
