"""Where a router writes decisions and rewards: files in a folder, or a function of the application."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping

from serving_client.router.log_calls import LogCalls
from serving_client.router.log_files import LogFiles

__all__ = ["KINDS", "Log", "NoLog", "lost_of", "open_log"]

KINDS = ("decisions", "rewards")


class NoLog:
    """A log that loses every line on purpose."""

    def write(self, line: bytes, /) -> bool:
        """Return False."""
        return False

    def close(self) -> None:
        """Do nothing."""


Log = LogFiles | LogCalls | NoLog


def open_log(
    log: str | os.PathLike[str] | Callable[[str, bytes], object] | None, kind: str, clock_us: Callable[[], int]
) -> Log:
    """Return a log that writes files, or calls a function.

    Args:
        log: Folder of the files, a function that takes the kind and a line, or None for no log.
        kind: One of KINDS.
        clock_us: Clock, microseconds since 1970.
    """
    if log is None:
        return NoLog()
    if isinstance(log, str | os.PathLike):
        return LogFiles(log, kind, clock_us=clock_us)
    return LogCalls(functools.partial(log, kind), kind)


def lost_of(log: Log) -> Mapping[str, int]:
    """Return the lines that a log lost, by reason."""
    if isinstance(log, NoLog):
        return {}
    return log.lost if isinstance(log, LogCalls) else log.counts().lost
