"""Open the server's ports: gRPC with TF Serving's two services, health if enabled, and REST.

Like the real server, it opens them after its models are loaded.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import grpc

from local_serving.config import read_ssl
from local_serving.core import Core
from local_serving.errors import StartError, Status, truncated
from local_serving.flags import Flags, channel_arguments
from local_serving.health import Health
from local_serving.metadata import model_metadata
from local_serving.model_service import model_status, reload_config
from local_serving.predict import predict
from serving_client.protocol import messages, methods

__all__ = ["DRAIN_S", "Server"]

DRAIN_S = 20.0
"""Below the 30 s after which Kubernetes kills a process that got SIGTERM."""
UNLOAD_S = 1.0
"""Least time for unloading, in seconds, even if the requests in flight took all of the drain time."""
_log = logging.getLogger(__name__)


class Server:
    """The server. Call `start`, read `grpc_port` and `rest_port` (None without REST), then call `stop`.

    Args:
        flags: The server's flags.
    """

    def __init__(self, flags: Flags) -> None:
        self._flags, self._host = flags, flags.host
        make_runner = None
        if flags.enable_batching:
            from local_serving.batching import make_batchers

            make_runner = make_batchers(flags)
        self.core = Core(flags, make_runner)
        # A watching client holds a thread. The other half of the threads answers requests.
        self._health = Health(flags.grpc_max_threads // 2)
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._grpc: Any = None
        self._rest: Any = None
        self.grpc_port: int = 0
        self.rest_port: int | None = None

    def start(self) -> None:
        """Load the models, then listen. Raise StartError for a bad model, port or file named by a flag."""
        flags = self._flags
        credentials = _credentials(flags)
        for port in {flags.port, max(0, flags.rest_api_port)}:
            _check_free(self._host, port)  # fail at once, before models load for a minute
        try:
            self.core.start()
            self._listen(credentials)
        except BaseException:
            self.stop(1.0)
            raise

    def stop(self, drain_s: float = DRAIN_S) -> bool:
        """Accept no new requests, let those in flight finish, and unload the models.

        Args:
            drain_s: How long to wait for requests and models, in seconds. Unloading gets at least UNLOAD_S.

        Returns:
            False if requests or models were still in use at the end. Their threads can keep the process alive.
        """
        end = time.monotonic() + drain_s
        self._health.stop()
        # First both servers refuse new requests. Then both finish those in flight.
        drained = self._grpc.stop(drain_s) if self._grpc else None
        if self._rest:
            self._rest.stop(drain_s)
        if drained:
            drained.wait(max(0.0, end - time.monotonic()) + UNLOAD_S)
        in_time = time.monotonic() < end
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)
        return self.core.stop(max(UNLOAD_S, end - time.monotonic())) and in_time

    def listening(self) -> str:
        """Return the addresses: `grpc HOST:PORT`, and ` rest HOST:PORT` if REST is on."""
        rest = f" rest {self._host}:{self.rest_port}" if self.rest_port else ""
        return f"grpc {self._host}:{self.grpc_port}{rest}"

    def _listen(self, credentials: Any) -> None:
        flags = self._flags
        self._pool = concurrent.futures.ThreadPoolExecutor(flags.grpc_max_threads, thread_name_prefix="grpc")
        server = self._grpc = grpc.server(self._pool, options=_options(flags))
        server.add_generic_rpc_handlers(tuple(self._handlers()))
        try:
            address = f"{self._host}:{flags.port}"
            if credentials:
                self.grpc_port = server.add_secure_port(address, credentials)
            else:
                self.grpc_port = server.add_insecure_port(address)
            if flags.grpc_socket_path:
                server.add_insecure_port(f"unix:{flags.grpc_socket_path}")
        except RuntimeError as error:
            raise StartError(
                f"cannot listen on {self._host}:{flags.port} ({error}); use another --host or --port"
            ) from error
        if flags.rest_api_port:
            from local_serving.rest import RestApi

            self._rest = RestApi(self.core, flags)
            self.rest_port = self._rest.start(self._host, max(0, flags.rest_api_port))
        server.start()

    def _handlers(self) -> list[grpc.GenericRpcHandler]:
        unary = {
            methods.PREDICT: (self._predict, messages.PredictRequest),
            methods.GET_MODEL_METADATA: (_answered(self.core, model_metadata), messages.GetModelMetadataRequest),
            methods.GET_MODEL_STATUS: (_answered(self.core, model_status), messages.GetModelStatusRequest),
            methods.RELOAD_CONFIG: (self._reload, messages.ReloadConfigRequest),
        }
        handlers: list[grpc.GenericRpcHandler] = [_NotCarriedOut()]
        for service in (methods.PREDICTION_SERVICE, methods.MODEL_SERVICE):
            table = {
                path.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(
                    handler, request_deserializer=request.FromString, response_serializer=_serialised
                )
                for path, (handler, request) in unary.items()
                if path.startswith(f"/{service}/")
            }
            handlers.append(grpc.method_handlers_generic_handler(service, table))
        if self._flags.enable_grpc_healthcheck_service:
            handlers.append(self._health.handler())
        return handlers

    def _predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        timeout_s = context.time_remaining()
        if timeout_s is not None and timeout_s <= 0:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed before the request was handled")
        with _aborted(context):
            return predict(self.core, request, timeout_s, self._flags.enable_serialization_as_tensor_content)

    def _reload(self, request: Any, context: grpc.ServicerContext) -> Any:
        response, error = reload_config(self.core, request, context.is_active)
        if error:
            context.set_code(error.code)
            context.set_details(truncated(error.message))
        return response


class _NotCarriedOut(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Answers UNIMPLEMENTED to the methods that only the real server has."""

    METHODS = (
        f"/{methods.PREDICTION_SERVICE}/Classify",
        f"/{methods.PREDICTION_SERVICE}/Regress",
        f"/{methods.PREDICTION_SERVICE}/MultiInference",
        "/tensorflow.serving.SessionService/SessionRun",
    )

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        method = details.method
        if method not in self.METHODS:
            return None

        def refuse(request: bytes, context: grpc.ServicerContext) -> None:
            name = method.rpartition("/")[2]
            context.abort(
                grpc.StatusCode.UNIMPLEMENTED, f"local_serving has no {name}; use Predict, or tensorflow_model_server"
            )

        return grpc.unary_unary_rpc_method_handler(refuse)


def _answered(core: Core, answer: Callable[[Core, Any], Any]) -> Callable[[Any, grpc.ServicerContext], Any]:
    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        with _aborted(context):
            return answer(core, request)

    return handle


@contextlib.contextmanager
def _aborted(context: grpc.ServicerContext) -> Any:
    """Turn a Status into the call's status and any other error into INTERNAL, so that the client sees its message."""
    try:
        yield
    except Status as error:
        code, message = error.code, error.message
    except Exception as error:
        _log.exception("an error in local_serving")
        code, message = grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
    else:
        return
    context.abort(code, truncated(message))


def _serialised(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


def _options(flags: Flags) -> list[tuple[str, Any]]:
    # With so_reuseport a second server could use the same port, and clients would reach either of them.
    options: list[tuple[str, Any]] = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    options.append(("grpc.so_reuseport", 0))
    return [*options, *channel_arguments(flags.grpc_channel_arguments)]


def _credentials(flags: Flags) -> Any:
    if not flags.ssl_config_file:
        return None
    ssl = read_ssl(flags.ssl_config_file)
    return grpc.ssl_server_credentials(
        [(ssl.server_key, ssl.server_cert)],
        root_certificates=ssl.custom_ca or None,
        require_client_auth=ssl.client_verify,
    )


def _check_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror
            raise StartError(f"{host}:{port}: cannot listen there ({reason}); use another --host or port") from error
