"""Answer grpc.health.v1.Health like gRPC's default service: SERVING for as long as the server runs.

The answer does not depend on models. Use GetModelStatus for them. The messages are described here, so that no further
package is needed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["CHECK", "Health", "HealthCheckRequest", "HealthCheckResponse"]

SERVICE = "grpc.health.v1.Health"
CHECK = f"/{SERVICE}/Check"
SERVING, SERVICE_UNKNOWN = 1, 3
NAMES = ("", "ModelService", "PredictionService")
"""Service names that server.cc sets. The empty name is the server itself."""


def _messages() -> tuple[Any, Any]:
    """Describe HealthCheckRequest and HealthCheckResponse. The enum `status` is an int32, which has the same bytes."""
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="local_serving/health.proto", package="grpc.health.v1", syntax="proto3"
    )
    for name, field, type_ in (
        ("HealthCheckRequest", "service", kind.TYPE_STRING),
        ("HealthCheckResponse", "status", kind.TYPE_INT32),
    ):
        described = file.message_type.add(name=name)
        described.field.add(name=field, number=1, label=kind.LABEL_OPTIONAL, type=type_)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    request, response = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"grpc.health.v1.{name}"))
        for name in ("HealthCheckRequest", "HealthCheckResponse")
    )
    return request, response


HealthCheckRequest, HealthCheckResponse = _messages()


class Health:
    """The handlers of the health service, until `stop`.

    Args:
        watchers: How many clients may watch at once. Further ones get RESOURCE_EXHAUSTED.
    """

    def __init__(self, watchers: int) -> None:
        self._stopped = threading.Event()
        self._places = threading.Semaphore(watchers)

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handler for add_generic_rpc_handlers."""
        serialise = {
            "request_deserializer": HealthCheckRequest.FromString,
            "response_serializer": HealthCheckResponse.SerializeToString,
        }
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Check": grpc.unary_unary_rpc_method_handler(self._check, **serialise),
                "Watch": grpc.unary_stream_rpc_method_handler(self._watch, **serialise),
            },
        )

    def stop(self) -> None:
        """End the streams of all watching clients."""
        self._stopped.set()

    def _check(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.service not in NAMES:
            context.abort(grpc.StatusCode.NOT_FOUND, "service name unknown")
        return HealthCheckResponse(status=SERVING)

    def _watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """Send the status once. It never changes, so the stream then stays silent until the client or server ends."""
        if not self._places.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watch; use Check, or more --grpc_max_threads")
        try:
            gone = threading.Event()
            if not context.add_callback(gone.set):
                return
            yield HealthCheckResponse(status=SERVING if request.service in NAMES else SERVICE_UNKNOWN)
            while not gone.wait(0.2) and not self._stopped.is_set():
                pass
        finally:
            self._places.release()
