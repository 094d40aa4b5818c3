"""A model server whose models answer, hang, fail or talk nonsense as a test says, over real gRPC on loopback.

    with RungServer() as server:
        server.behave("cf", Hang())

Predict answers with the contract's `items` and `scores`; GetModelStatus lists version 7 of the models that are told to
answer. What was asked is kept: `asked(model)` counts, `requests` and `metadata` hold all, oldest first. The signature
score_items is kept apart, in `scored`: it gives -inf to the items in `unknown`, 0 to all others, and NotSupported
while `unknown` is None.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import socket
import threading
from typing import Any

import grpc

from serving_client.protocol import messages, methods

VERSION = 7


@dataclasses.dataclass(frozen=True)
class Answer:
    """Items as they are, with falling scores; those of the request's exclude are left out."""

    items: tuple[str, ...] = ("m0", "m1", "m2")


@dataclasses.dataclass(frozen=True)
class Hang:
    """No answer until the call is cancelled or the server stops; only to the first `times` Predicts, if that is given.

    After those it answers as Answer() does.
    """

    times: int | None = None


@dataclasses.dataclass(frozen=True)
class Fail:
    code: grpc.StatusCode
    details: str = "as the test wants it"


@dataclasses.dataclass(frozen=True)
class Nonsense:
    """Bytes that are no message."""

    reply: bytes = b"\xff\xff\xff\xff"


class RungServer:
    """Up between `start` and `stop`, at the same address each time; a context manager."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.target = f"127.0.0.1:{free.getsockname()[1]}"
        self.requests: list[Any] = []
        self.metadata: list[dict[str, Any]] = []
        self.scored: list[Any] = []
        self.unknown: set[str] | None = None
        self.states: list[tuple[int, int, int, str]] | None = None
        self._models: dict[str, Any] = {}
        self._lock = threading.Lock()

    def behave(self, model: str, behaviour: Answer | Hang | Fail | Nonsense) -> None:
        self._models[model] = behaviour

    def asked(self, model: str) -> int:
        """Predicts for the model so far."""
        with self._lock:
            return sum(request.model_spec.name == model for request in self.requests)

    def start(self) -> RungServer:
        self._pool = concurrent.futures.ThreadPoolExecutor(32)
        self._server = grpc.server(self._pool, options=[("grpc.so_reuseport", 0)])
        for path, answer, request in (
            (methods.PREDICT, self._predict, messages.PredictRequest),
            (methods.GET_MODEL_STATUS, self._status, messages.GetModelStatusRequest),
        ):
            service, method = path[1:].split("/")
            handler = grpc.unary_unary_rpc_method_handler(answer, request_deserializer=request.FromString)
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        assert self._server.add_insecure_port(self.target), self.target
        self._server.start()
        return self

    def stop(self) -> None:
        self._server.stop(None).wait()
        self._pool.shutdown()

    __enter__ = start

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _score(self, request: Any, context: grpc.ServicerContext) -> bytes:
        self.scored.append(request)
        if self.unknown is None:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "score_items" not found.')
        candidates = [item.decode() for item in request.inputs["candidates"].string_val]
        response = messages.PredictResponse()
        scores = response.outputs["scores"]
        scores.dtype = 1
        for size in (1, len(candidates)):
            scores.tensor_shape.dim.add(size=size)
        scores.float_val.extend(float("-inf") if item in ("", *self.unknown) else 0.0 for item in candidates)
        return bytes(response.SerializeToString())

    def _predict(self, request: Any, context: grpc.ServicerContext) -> bytes:
        if request.model_spec.signature_name == "score_items":
            return self._score(request, context)
        with self._lock:
            self.requests.append(request)
            self.metadata.append(dict(context.invocation_metadata()))
        model = request.model_spec.name
        self._fail_as_told(model, context)
        version = request.model_spec.version.value
        if version not in (0, VERSION):
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Specific({model}, {version})")
        behaviour = self._models.get(model)
        match Answer() if isinstance(behaviour, Hang) else behaviour:
            case Answer(items):
                excluded = set(request.inputs["exclude"].string_val) if "exclude" in request.inputs else set()
                return self._reply(model, [item for item in items if item.encode() not in excluded])
            case Nonsense(reply):
                return reply
        context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({model})")
        raise AssertionError("abort raises")

    def _fail_as_told(self, model: str, context: grpc.ServicerContext) -> None:
        match self._models.get(model):
            case Hang(times) if times is None or self.asked(model) <= times:
                over = threading.Event()
                if context.add_callback(over.set):
                    over.wait()
                context.abort(grpc.StatusCode.CANCELLED, "nobody waits any more")
            case Fail(code, details):
                context.abort(code, details)

    def _reply(self, model: str, items: list[str]) -> bytes:
        response = messages.PredictResponse()
        response.model_spec.name = model
        response.model_spec.version.value = VERSION
        response.model_spec.signature_name = "serving_default"
        for name, dtype in (("items", 7), ("scores", 1)):
            response.outputs[name].dtype = dtype
            for size in (1, len(items)):
                response.outputs[name].tensor_shape.dim.add(size=size)
        response.outputs["items"].string_val.extend(item.encode() for item in items)
        response.outputs["scores"].float_val.extend(float(len(items) - place) for place in range(len(items)))
        return bytes(response.SerializeToString())

    def _status(self, request: Any, context: grpc.ServicerContext) -> bytes:
        model = request.model_spec.name
        self._fail_as_told(model, context)
        states = self.states
        if states is None:
            states = [(VERSION, 30, 0, "")] if isinstance(self._models.get(model), Answer | Hang) else []
        wanted = request.model_spec.version.value
        states = [row for row in states if wanted in (0, row[0])]
        if not states:
            said = f"version {wanted} of model {model}" if wanted else f"any versions of model {model}"
            context.abort(grpc.StatusCode.NOT_FOUND, f"Could not find {said}")
        response = messages.GetModelStatusResponse()
        for version, state, code, error in states:
            row = response.model_version_status.add(version=version, state=state)
            row.status.error_code, row.status.error_message = code, error
        return bytes(response.SerializeToString())
