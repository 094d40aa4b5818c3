"""A server of the Open Inference Protocol on loopback that answers each ModelInfer with what a test's function says."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Iterator

import grpc

from serving_client.protocol import messages, methods


class InferenceServer:
    """`answer` takes a ModelInferRequest and the call's context, and gives a ModelInferResponse; tests replace it.

    requests: all that came. ready: what ModelReady says. Port 0 takes a free one.
    """

    def __init__(self) -> None:
        self.answer: Callable = lambda request, context: messages.ModelInferResponse()
        self.ready = True
        self.requests: list = []
        self._lock = threading.Lock()
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        handlers = {
            methods.MODEL_INFER: grpc.unary_unary_rpc_method_handler(
                self._infer, messages.ModelInferRequest.FromString, messages.ModelInferResponse.SerializeToString
            ),
            methods.MODEL_READY: grpc.unary_unary_rpc_method_handler(
                lambda request, context: messages.ModelReadyResponse(ready=self.ready),
                messages.ModelReadyRequest.FromString,
                messages.ModelReadyResponse.SerializeToString,
            ),
        }
        names = {path.rpartition("/")[2]: handler for path, handler in handlers.items()}
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(methods.GRPC_INFERENCE_SERVICE, names)]
        )
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def _infer(self, request, context):
        with self._lock:
            self.requests.append(request)
        return self.answer(request, context)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()


@contextlib.contextmanager
def inference_servers(count: int = 1) -> Iterator[list[InferenceServer]]:
    servers = [InferenceServer() for _ in range(count)]
    for server in servers:
        server.start()
    try:
        yield servers
    finally:
        for server in servers:
            server.stop()
