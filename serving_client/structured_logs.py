"""Calls as log records with fields, and a formatter that writes a record as one line of JSON.

    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.getLogger("serving_client").addHandler(handler)
    client = Client("localhost:8500", model="cf", observers=[LoggingObserver()])

    {"at": "2026-01-05T10:00:00.123456+00:00", "level": "WARNING", "logger": "serving_client.calls",
     "message": "call failed", "method": "Predict", "model": "cf", "version": null, "code": "UNAVAILABLE", …}

The fields are those of `observing.Attempt` and `observing.Call`. They hold no ids, no histories and no error text of a
server, because such a text may quote an input.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
import math
from collections.abc import Mapping
from typing import Any

from serving_client.observing import Attempt, Call
from serving_client.popularity import POPULARITY_RUNG

__all__ = ["JsonFormatter", "LoggingObserver"]

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
"""Fields that logging itself adds to a record. All other fields come from `extra`."""
_FIXED = frozenset({"at", "level", "logger", "message", "error_trace"})


class LoggingObserver:
    """Writes a log record for every call and every attempt.

    Args:
        logger: Logger to write to. By default "serving_client.calls".
        ok_level: Level of calls that succeeded.
        failed_level: Level of calls that raised, and of a Fallback's calls that no model answered.
        attempt_level: Level of single requests. A retry may follow a failed one.
    """

    def __init__(
        self,
        logger: logging.Logger | None = None,
        *,
        ok_level: int = logging.DEBUG,
        failed_level: int = logging.WARNING,
        attempt_level: int = logging.DEBUG,
    ) -> None:
        self._logger = logging.getLogger("serving_client.calls") if logger is None else logger
        self._ok_level, self._failed_level, self._attempt_level = ok_level, failed_level, attempt_level

    def attempt(self, attempt: Attempt, /) -> None:
        """Log one request."""
        if self._logger.isEnabledFor(self._attempt_level):
            self._logger.log(self._attempt_level, "attempt", extra=_fields(attempt))

    def call(self, call: Call, /) -> None:
        """Log one call of a client or a fallback."""
        failed = bool(call.error) or call.rung == POPULARITY_RUNG
        level = self._failed_level if failed else self._ok_level
        if self._logger.isEnabledFor(level):
            message = "call failed" if call.error else "no model answered" if failed else "call"
            self._logger.log(level, message, extra=_fields(call))


class JsonFormatter(logging.Formatter):
    """Formats a log record as one line of JSON: at (RFC 3339, UTC), level, logger, message, and the fields of `extra`.

    `error_trace` is the stack trace of an exception. Values that JSON cannot hold are written as text, and NaN and
    infinities as null. The line is ASCII, so that neither an id nor the encoding of the stream can break it.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one JSON object, without a newline."""
        line: dict[str, Any] = {
            "at": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        # A field of `extra` with the name of a fixed field gets an underscore.
        extra = {name: value for name, value in vars(record).items() if name not in _OWN}
        line |= {f"{name}_" if name in _FIXED else name: _plain(value) for name, value in extra.items()}
        if record.exc_info:
            line["error_trace"] = self.formatException(record.exc_info)
        return json.dumps(line, allow_nan=False, default=str)


def _fields(record: Attempt | Call) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def _plain(value: Any) -> Any:
    """Return the value in a form that JSON can hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    return value
