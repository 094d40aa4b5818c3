"""Define the server's errors: a gRPC status for a client, or one sentence for the person who starts the server.

Status       a request or a load failed, with tensorflow_model_server's code and message
StartError   the server cannot start; exit code 1
└── UsageError   the flags are not valid; exit code 2
"""

from __future__ import annotations

import grpc

__all__ = ["StartError", "Status", "UsageError", "of_number", "truncated"]

MESSAGE_LIMIT_BYTES = 1024
"""grpc_status_util.cc truncates here, because a message travels in HTTP/2 headers, whose size is limited."""
_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


class Status(Exception):
    """A status other than OK. str() is what TensorFlow logs: `NOT_FOUND: Servable not found …`.

    Args:
        code: The status code.
        message: The message without the code.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class StartError(Exception):
    """The server cannot start. The message is one sentence."""

    exit_code = 1


class UsageError(StartError):
    """A flag is not valid. The message is one sentence."""

    exit_code = 2


def of_number(number: int) -> grpc.StatusCode:
    """Return the status code of a number in TensorFlow's errors, or UNKNOWN."""
    return _BY_NUMBER.get(number, grpc.StatusCode.UNKNOWN)


def truncated(message: str) -> str:
    """Cut a message to the 1,024 bytes that are sent, and append `...TRUNCATED` if it was longer."""
    data = message.encode(errors="replace")
    if len(data) <= MESSAGE_LIMIT_BYTES:
        return message
    return data[:MESSAGE_LIMIT_BYTES].decode(errors="ignore") + "...TRUNCATED"
