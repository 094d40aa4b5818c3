"""Record calls as OpenTelemetry spans, and send their trace context to the server. This needs the extra `otel`.

    client = Client("localhost:8500", model="cf", observers=[TracingObserver()])

A call is a span of kind CLIENT below the caller's current span. Its attempts are child spans of kind INTERNAL, so both
requests of a hedge are visible and service maps count a call once. Every attempt carries the call's context as metadata
(`traceparent`, `tracestate`, or other keys of the installed propagator). The attributes follow OpenTelemetry's
conventions for RPC, and `serving.*`. No attribute holds an id, a history or the text of an error.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from serving_client.extras import require
from serving_client.observing import Attempt, Call

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider
    from opentelemetry.util.types import AttributeValue

__all__ = ["TracingObserver"]

REMEMBERED = 1024
"""Number of ended calls to keep. The slower request of a hedge may be reported after its call has ended."""


class TracingObserver:
    """An observer for any number of clients, blocking or asynchronous, of one tracer provider.

    Args:
        tracer_provider: Provider of the spans. By default the global one.
        clock_ns: Nanoseconds since 1970, for the times of the spans.

    Raises:
        MissingExtra: The OpenTelemetry API is not installed.
    """

    def __init__(
        self, tracer_provider: TracerProvider | None = None, *, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._trace = require("opentelemetry.trace", "otel")
        self._inject = require("opentelemetry.propagate", "otel").inject
        self._tracer = self._trace.get_tracer("serving_client", tracer_provider=tracer_provider)
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._ended: collections.OrderedDict[int, Span] = collections.OrderedDict()
        self._open: dict[
            int, Span
        ] = {}  # by call_id; the client ends every call that it starts, so none is left behind

    def start(self, call_id: int, method: str, model: str, /) -> Sequence[tuple[str, str]]:
        """Open the call's span below the current one.

        Args:
            call_id: Id of the call.
            method: Last part of gRPC's path, as in "Predict".
            model: Model that is called.

        Returns:
            Metadata that carries the span to the server.
        """
        span = self._tracer.start_span(
            method,
            kind=self._trace.SpanKind.CLIENT,
            start_time=self._clock_ns(),
            attributes={"rpc.system.name": "grpc", "rpc.method": method, "serving.model": model},
        )
        carrier: dict[str, str] = {}
        self._inject(carrier, context=self._trace.set_span_in_context(span))
        with self._lock:
            self._open[call_id] = span
        return [(name.lower(), value) for name, value in carrier.items()]  # gRPC rejects upper case

    def attempt(self, attempt: Attempt, /) -> None:
        """Record one request as a span that ends now."""
        with self._lock:
            parent = self._open.get(attempt.call_id) or self._ended.get(attempt.call_id)
        if parent is None:  # its call ended long ago, so there is no parent
            return
        now_ns = self._clock_ns()
        span = self._tracer.start_span(
            f"{attempt.method} attempt {attempt.number}",
            context=self._trace.set_span_in_context(parent),
            kind=self._trace.SpanKind.INTERNAL,
            start_time=now_ns - round(attempt.seconds * 1e9),
            attributes={**_place(attempt), "serving.attempt": attempt.number, "serving.hedged": attempt.hedged},
        )
        self._end(span, attempt.code, attempt.code, now_ns)

    def call(self, call: Call, /) -> None:
        """End the call's span."""
        with self._lock:
            span = self._open.pop(call.call_id, None)
            if span is not None:
                self._ended[call.call_id] = self._trace.NonRecordingSpan(span.get_span_context())
                if len(self._ended) > REMEMBERED:
                    self._ended.popitem(last=False)
        now_ns = self._clock_ns()
        if span is None:  # a Fallback's call has no start; the calls to its models have their own spans
            span = self._tracer.start_span(call.method, start_time=now_ns - round(call.seconds * 1e9))
        span.set_attributes(
            {
                **_place(call),
                "serving.attempts": call.attempts,
                "serving.hedged": call.hedged,
                "serving.rung": call.rung,
            }
        )
        self._end(span, call.code, call.error, now_ns)

    def _end(self, span: Span, code: str, error: str, at_ns: int) -> None:
        """End a span. `error` is the error's name. "OK" and "" mean that there is none."""
        span.set_attribute("rpc.response.status_code", code)
        if error not in ("", "OK"):
            span.set_attribute("error.type", error)
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR))
        span.end(at_ns)


def _place(record: Attempt | Call) -> dict[str, AttributeValue]:
    """Return the attributes of the model and the server."""
    place: dict[str, AttributeValue] = {"serving.model": record.model}
    if record.version is not None:
        place["serving.version"] = record.version
    if record.target:
        place["server.address"] = record.target
    return place
