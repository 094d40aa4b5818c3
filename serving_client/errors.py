"""The errors of a call. Each class asks for a different reaction of the caller.

The tree:

    ServingError            any error of a call
    ├── InvalidRequest      the request is invalid; a retry cannot help
    ├── NotFound            the server does not have this model, version or label
    ├── NotReady            the model is still loading, or not in the state that the request needs
    ├── NotSupported        the model lacks the signature, or the server or protocol lacks the method
    ├── Overloaded          the server rejects requests for now, because a queue or quota is full
    ├── DeadlineExceeded    the deadline passed; the server may or may not have done the work
    ├── Unavailable         no server answered: no connection, or a broken one
    │   └── CircuitOpen     the call was not sent, because the last calls failed (see `breaker`)
    ├── Unauthorized        credentials are missing or not sufficient
    ├── BadResponse         the answer violates the protocol or the contract
    ├── ServerFault         the server accepted the request and failed
    ├── Cancelled           the caller or the server cancelled the call
    └── ClientClosed        `close()` was called before

A message is one sentence: where, what is wrong with the value, what to do. CODES maps gRPC's codes to classes. If a
code covers several cases, REFINED distinguishes them by the words of servers and of gRPC core.
"""

from __future__ import annotations

import types
from collections.abc import Mapping

import grpc

__all__ = [
    "CODES",
    "REFINED",
    "BadResponse",
    "Cancelled",
    "CircuitOpen",
    "ClientClosed",
    "DeadlineExceeded",
    "InvalidRequest",
    "NotFound",
    "NotReady",
    "NotSupported",
    "Overloaded",
    "ServerFault",
    "ServingError",
    "Unauthorized",
    "Unavailable",
    "from_rpc",
    "from_status",
]


class ServingError(Exception):
    """The base of all errors of a call. All arguments go to super, so it can be pickled and copied.

    Args:
        message: What went wrong.
        target: `HOST:PORT` of the server that got the last request. Empty if none was sent.
        model: Model that was called. Empty if unknown.
        version: Version that was called. None if unknown.
        attempts: Requests that were sent. 0 if the call failed before the first.
    """

    def __init__(
        self, message: str, target: str = "", model: str = "", version: int | None = None, attempts: int = 0
    ) -> None:
        super().__init__(message, target, model, version, attempts)

    @property
    def message(self) -> str:
        """What went wrong, without the place."""
        return str(self.args[0])

    @property
    def target(self) -> str:
        """HOST:PORT, or ""."""
        return str(self.args[1])

    @property
    def model(self) -> str:
        """Name of the model, or ""."""
        return str(self.args[2])

    @property
    def version(self) -> int | None:
        """Version that was asked for, None for the latest or a label."""
        version: int | None = self.args[3]
        return version

    @property
    def attempts(self) -> int:
        """Requests that were sent."""
        return int(self.args[4])

    def __str__(self) -> str:
        place = [self.target] if self.target else []
        if self.model:
            place.append(f"model {self.model}" + ("" if self.version is None else f" version {self.version}"))
        tried = f" (after {self.attempts} attempts)" if self.attempts > 1 else ""
        return ": ".join(filter(None, (", ".join(place), self.message))) + tried


class InvalidRequest(ServingError):
    """The request is wrong: unknown inputs, a wrong dtype or shape, or larger than a limit of the channel."""


class NotFound(ServingError):
    """The server has no such model or version."""


class NotReady(ServingError):
    """The model does not answer yet: it is loading, or lacks the state that the request needs."""


class NotSupported(ServingError):
    """The model has no such signature, or the server or the protocol has no such method."""


class Overloaded(ServingError):
    """The server rejects requests for now. Another server may accept them, or this one later."""


class DeadlineExceeded(ServingError):
    """The deadline of the call passed. It is never retried, because no time is left."""


class Unavailable(ServingError):
    """No server answered: no connection, a failed handshake, or a broken connection."""


class CircuitOpen(Unavailable):
    """The call was not sent: the circuit breaker counts this server as down."""


class Unauthorized(ServingError):
    """The server rejects the credentials."""


class BadResponse(ServingError):
    """The answer cannot be read, or lacks something that the protocol or the model's contract requires."""


class ServerFault(ServingError):
    """The server failed while it handled the request. A retry is likely to fail again, so there is none."""


class Cancelled(ServingError):
    """The caller or the server cancelled the call."""


class ClientClosed(ServingError):
    """The client was closed before or during the call."""


CODES: Mapping[grpc.StatusCode, type[ServingError]] = types.MappingProxyType(
    {
        grpc.StatusCode.CANCELLED: Cancelled,
        grpc.StatusCode.UNKNOWN: ServerFault,
        grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
        grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
        grpc.StatusCode.NOT_FOUND: NotFound,
        grpc.StatusCode.ALREADY_EXISTS: InvalidRequest,
        grpc.StatusCode.PERMISSION_DENIED: Unauthorized,
        grpc.StatusCode.UNAUTHENTICATED: Unauthorized,
        grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
        grpc.StatusCode.FAILED_PRECONDITION: NotReady,
        grpc.StatusCode.ABORTED: Unavailable,
        grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
        grpc.StatusCode.UNIMPLEMENTED: NotSupported,
        grpc.StatusCode.INTERNAL: ServerFault,
        grpc.StatusCode.UNAVAILABLE: Unavailable,
        grpc.StatusCode.DATA_LOSS: ServerFault,
    }
)
"""The error class of each gRPC code except OK, as specific as the code alone allows."""

REFINED: tuple[tuple[grpc.StatusCode, str, type[ServingError]], ...] = (
    # batching_session.cc: Tensors with name 'x' from different tasks have different shapes and padding is turned off.
    (grpc.StatusCode.FAILED_PRECONDITION, "have different shapes", InvalidRequest),
    # predict_util.cc: Serving signature key "explain" not found.
    (grpc.StatusCode.FAILED_PRECONDITION, "Serving signature key", NotSupported),
    # server_core.cc: like an unknown version, but with another code.
    (grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label", NotFound),
    # basic_batch_scheduler: The batch scheduling queue to which this task was submitted is full.
    (grpc.StatusCode.UNAVAILABLE, "batch scheduling queue", Overloaded),
    # gRPC core, at either end: Received message larger than max (5000000 vs. 4194304), or "Sent message …", or
    # "CLIENT: Received message …". A retry would be as large.
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "message larger than max", InvalidRequest),
    # grpc/_channel.py, where a deserializer raises.
    (grpc.StatusCode.INTERNAL, "Exception deserializing response", BadResponse),
    # gRPC core, where a connection breaks under a call.
    (grpc.StatusCode.UNKNOWN, "Stream removed", Unavailable),
)
"""Cases that share a code: code, words of the details in any case, class. The first match counts."""

_ADVICE: Mapping[type[ServingError], str] = types.MappingProxyType(
    {
        Unavailable: "check that the server runs, and that client and server both use TLS or both do not",
        DeadlineExceeded: "raise timeout_s, or check the server's latency",
        Overloaded: "lower the rate, or add replicas",
        Unauthorized: "check the credentials of the client",
    }
)


def from_status(
    code: grpc.StatusCode | None,
    details: str | None,
    *,
    target: str = "",
    model: str = "",
    version: int | None = None,
    attempts: int = 0,
) -> ServingError:
    """Return the error for a gRPC status other than OK.

    Args:
        code: gRPC's code. None gives a ServerFault.
        details: gRPC's text.
        target: `HOST:PORT` of the server.
        model: Model that was called.
        version: Version that was called, or None.
        attempts: Requests that were sent.
    """
    text = " ".join((details or "").split())
    kind = ServerFault if code is None else CODES.get(code, ServerFault)
    lowered = text.lower()
    for refined_code, words, refined in REFINED:
        if code is refined_code and words.lower() in lowered:
            kind = refined
            break
    said = f"{'no status' if code is None else code.name}: {text or 'no details'}"
    advice = _ADVICE.get(kind)
    if kind is NotFound:
        name = model if model and version is not None else "NAME"  # without a version the name itself may be wrong
        command = f"serving-client status --server={target or 'HOST:PORT'} --model={name}"
        advice = f"check the name and version; `{command}` lists the versions of a model"
    return kind(f"{said.rstrip('.')}; {advice}" if advice else said, target, model, version, attempts)


def from_rpc(
    error: grpc.RpcError, *, target: str = "", model: str = "", version: int | None = None, attempts: int = 0
) -> ServingError:
    """Return the error for an exception of a stub: blocking, future or aio. The caller raises it `from` that exception.

    Args:
        error: Exception of the stub.
        target: `HOST:PORT` of the server.
        model: Model that was called.
        version: Version that was called, or None.
        attempts: Requests that were sent.
    """
    code = error.code() if callable(getattr(error, "code", None)) else None
    details = error.details() if callable(getattr(error, "details", None)) else str(error)
    return from_status(code, details, target=target, model=model, version=version, attempts=attempts)
