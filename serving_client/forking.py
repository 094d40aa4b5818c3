"""The use of gRPC after a fork. A child may use blocking clients. Other uses raise a clear error.

gRPC prepares for a fork only while no thread is inside it. A running blocking call is such a thread. So a fork holds
back new calls of blocking clients and waits for the running ones, at most WAIT_S seconds. The thread of grpc.aio is
always inside gRPC while a channel exists. A child that was forked beside such a thread sends no request. Threads that
gRPC starts may even kill it (SIGSEGV, or a failed check in gRPC, seen on a busy machine).
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import NamedTuple

import grpc

from serving_client.errors import ClientClosed

__all__ = ["WAIT_S", "use_grpc", "watch"]

WAIT_S = 2.0
"""Seconds that a fork waits for running calls. Only a call with a longer timeout than the default takes longer."""


class _Watch(NamedTuple):
    forked: weakref.WeakMethod[Callable[[], bool]]
    begins: weakref.WeakMethod[Callable[[float], None]] | None
    ended: weakref.WeakMethod[Callable[[], None]] | None


_watched: list[_Watch] = []
_lock = threading.Lock()  # guards changes to the list
_state = {"spoilt": False}
_kept: dict[int, grpc.Channel] = {}  # by process id; the parent's channel is never closed here


def watch(
    forked: Callable[[], bool],
    begins: Callable[[float], None] | None = None,
    ended: Callable[[], None] | None = None,
) -> None:
    """Call bound methods around every fork from now on, as long as their object lives.

    Args:
        forked: Called in the child. Drops the parent's connections, and returns whether gRPC was in use at the fork.
        begins: Called in the parent before the fork. Starts no call from now on, and returns when none runs or the
            given seconds are over.
        ended: Called in the parent after the fork. Calls may start again.
    """
    one = _Watch(
        weakref.WeakMethod(forked),
        None if begins is None else weakref.WeakMethod(begins),
        None if ended is None else weakref.WeakMethod(ended),
    )
    with _lock:
        _watched[:] = [*(each for each in _watched if each.forked() is not None), one]


def use_grpc() -> None:
    """Allow gRPC in this process. Call this before a channel is made.

    gRPC stops, in a thread, when its last channel is closed. A child that is forked meanwhile would wait forever at its
    first channel (2 of 60 forks right after a close, on a busy machine). So each process keeps a channel that connects
    to nothing and is never closed.

    Raises:
        ClientClosed: This process is a child that cannot use gRPC.
    """
    if _state["spoilt"]:
        raise ClientClosed(
            "this process was forked while gRPC was in use, so gRPC does not work here; fork before the first call, "
            "close asynchronous clients before forking, or start processes with spawn"
        )
    if os.getpid() not in _kept:
        _kept[os.getpid()] = grpc.insecure_channel("localhost:1")


# Each function iterates over a copy, because another thread may add a client to the list meanwhile.
def _before_fork() -> None:
    until_s = time.monotonic() + WAIT_S
    for one in tuple(_watched):
        begins = None if one.begins is None else one.begins()
        if begins is not None:
            begins(max(0.0, until_s - time.monotonic()))


def _after_fork_in_parent() -> None:
    for one in tuple(_watched):
        ended = None if one.ended is None else one.ended()
        if ended is not None:
            ended()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()  # the thread that held the old lock does not exist in the child
    for one in tuple(_watched):
        forked = one.forked()
        if forked is not None and forked():
            _state["spoilt"] = True


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
