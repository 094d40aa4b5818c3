"""How the server says no: a gRPC status to a client, one sentence to the person who starts it.

Status       a request or a load that failed, with tensorflow_model_server's code and message
StartError   the server cannot start; exit code 1
└── UsageError   flags that cannot be carried out; exit code 2
"""

from __future__ import annotations

import grpc

__all__ = ["StartError", "Status", "UsageError", "of_number", "truncated"]

MESSAGE_LIMIT_BYTES = 1024
"""grpc_status_util.cc cuts there: a message travels in HTTP/2 headers, which have a limit of their own."""
_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


class Status(Exception):
    """A status other than OK. str() is what TensorFlow logs: `NOT_FOUND: Servable not found …`."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class StartError(Exception):
    """One sentence: why the server does not start."""

    exit_code = 1


class UsageError(StartError):
    """One sentence: which flag cannot be carried out as written."""

    exit_code = 2


def of_number(number: int) -> grpc.StatusCode:
    """The code of a number as TensorFlow's errors carry it; UNKNOWN if there is none."""
    return _BY_NUMBER.get(number, grpc.StatusCode.UNKNOWN)


def truncated(message: str) -> str:
    """What goes over the wire of a message: 1,024 bytes of it, then `...TRUNCATED` if there was more."""
    data = message.encode(errors="replace")
    if len(data) <= MESSAGE_LIMIT_BYTES:
        return message
    return data[:MESSAGE_LIMIT_BYTES].decode(errors="ignore") + "...TRUNCATED"
