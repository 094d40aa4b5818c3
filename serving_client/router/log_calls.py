"""Pass log lines to a function of the application instead of files, for example to a producer of a message broker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from serving_client.router.counting import Counts

__all__ = ["LogCalls"]

_LOG = logging.getLogger("serving_client.router")


class LogCalls:
    """A log that calls a function for each line, in the caller's thread. Thread-safe if the function is.

    Args:
        function: Takes a line with its LF. It must not block. An exception loses the line, and is counted.
        kind: Name of the log in messages, such as "decisions".
    """

    def __init__(self, function: Callable[[bytes], Any], kind: str) -> None:
        self._function, self._kind = function, kind
        self._lost = Counts()
        self._failing = False

    def write(self, line: bytes) -> bool:
        """Pass a line on. Never raises.

        Returns:
            False if the line is lost. It is counted then.
        """
        try:
            self._function(line)
        except Exception as error:
            self._lost.add("call_failed")
            before, self._failing = self._failing, True
            if not before:
                _LOG.warning("the function that takes %s failed: %s: %s", self._kind, type(error).__name__, error)
            return False
        self._failing = False
        return True

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Return True, because nothing waits here."""
        return True

    def close(self, timeout_s: float = 5.0) -> None:
        """Do nothing. The function belongs to the application."""

    @property
    def lost(self) -> Mapping[str, int]:
        """Lines that were lost, by reason."""
        return self._lost.read()
