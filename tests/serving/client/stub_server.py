"""A real gRPC server on loopback that knows every answer by construction, and fails when it is told to.

Handlers get and give raw bytes, so that an answer may be garbage. What a request meets is, in this order: the first
of `script` (used once), else `always`, else the plain answer. Listeners below it speak no gRPC at all.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import grpc
import numpy as np

from serving_client import codec
from serving_client.protocol import messages, methods

MODEL = "cf"
K = 6
"""Columns of `items`: RANKING without what the history and exclude hold, then padding."""
RANKING = [f"r{number}" for number in range(8)]
STATES = {"UNKNOWN": 0, "START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50}

Step = Callable[[bytes, grpc.ServicerContext], bytes | None]
"""Takes a request; returns the answer's bytes, or None to go on to the plain answer."""


def fail(code: grpc.StatusCode, details: str = "told to") -> Step:
    def step(request, context):
        context.abort(code, details)

    return step


def answer(reply: bytes) -> Step:
    return lambda request, context: reply


def sleep(seconds: float) -> Step:
    """Waits so long, or until the client gives the call up, which it reports by CANCELLED."""

    def step(request, context):
        gone = threading.Event()
        if context.add_callback(gone.set) and gone.wait(seconds):
            context.abort(grpc.StatusCode.CANCELLED, "gone")

    return step


@dataclasses.dataclass
class Request:
    """What a server was asked."""

    method: str
    raw: bytes
    metadata: dict[str, str | bytes]
    left_s: float

    @property
    def message(self):
        return messages.PredictRequest.FromString(self.raw)

    def rows(self, name: str) -> list[list[str]]:
        array = codec.to_array(self.message.inputs[name])
        return [[item.decode() for item in row] for row in array]


class StubServer:
    """Serves MODEL in the versions of `states`; see the module."""

    def __init__(self, port: int = 0, credentials: grpc.ServerCredentials | None = None) -> None:
        self.script: collections.deque[Step] = collections.deque()
        self.always: Step | None = None
        self.states = {7: "AVAILABLE"}
        self.errors: dict[int, str] = {}
        self.requests: list[Request] = []
        self.given_up = 0
        self._credentials = credentials
        self.start(port)

    def start(self, port: int = 0) -> None:
        options = [
            ("grpc.so_reuseport", 0),  # one server at a time has a port: two that share it would hide a restart
            ("grpc.max_receive_message_length", 2**31 - 1),  # as tensorflow_model_server
        ]
        self._pool = concurrent.futures.ThreadPoolExecutor(32)
        self._server = grpc.server(self._pool, options=options)
        answers = {
            methods.PREDICT: self._predict,
            methods.GET_MODEL_METADATA: self._metadata,
            methods.GET_MODEL_STATUS: self._status,
            methods.RELOAD_CONFIG: self._reload,
        }
        for path, plain in answers.items():
            service, _, name = path.strip("/").partition("/")
            handler = grpc.unary_unary_rpc_method_handler(self._handler(path, plain))
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
        address = f"127.0.0.1:{port}"
        if self._credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, self._credentials)
        self._server.start()

    def stop(self, grace_s: float | None = None) -> None:
        self._server.stop(grace_s).wait()
        self._pool.shutdown()

    def restart(self, grace_s: float | None = None, down_s: float = 0.0) -> None:
        """On the same port."""
        self.stop(grace_s)
        time.sleep(down_s)
        self.start(self.port)

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def asked(self, method: str = methods.PREDICT) -> list[Request]:
        return [request for request in self.requests if request.method == method]

    def _handler(self, path, plain):
        def handle(raw, context):
            metadata = dict(context.invocation_metadata())
            self.requests.append(Request(path, raw, metadata, context.time_remaining()))
            try:
                step = self.script.popleft()
            except IndexError:
                step = self.always
            reply = step(raw, context) if step is not None and path != methods.GET_MODEL_STATUS else None
            if not context.is_active():
                self.given_up += 1
            return plain(raw, context) if reply is None else reply

        def handle_counting(raw, context):
            try:
                return handle(raw, context)
            except Exception:
                if not context.is_active():
                    self.given_up += 1
                raise

        return handle_counting

    def _predict(self, raw, context):
        request = messages.PredictRequest.FromString(raw)
        spec = request.model_spec
        version = self._version(spec, context)
        inputs = {name: codec.to_array(tensor) for name, tensor in request.inputs.items()}
        signature = spec.signature_name or "serving_default"
        response = messages.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        response.model_spec.signature_name = signature
        if signature == "echo":
            outputs = inputs
        elif signature in ANSWERS:
            outputs = ANSWERS[signature](inputs)
        else:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{signature}" not found.')
        for name in request.output_filter or outputs:
            codec.write_tensor(response.outputs[name], outputs[name])
        return response.SerializeToString()

    def _version(self, spec, context):
        """The version that is meant, or NOT_FOUND in the words of tensorflow_model_server."""
        available = [version for version, state in self.states.items() if state == "AVAILABLE"]
        wanted = spec.version.value if spec.HasField("version") else max(available, default=None)
        if spec.version_label and spec.version_label != "stable":
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}"
            )
        if spec.name != MODEL or wanted not in available:
            meant = f"Specific({spec.name}, {wanted})" if spec.HasField("version") else f"Latest({spec.name})"
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {meant}")
        return wanted

    def _metadata(self, raw, context):
        request = messages.GetModelMetadataRequest.FromString(raw)
        assert list(request.metadata_field) == ["signature_def"]
        response = messages.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = self._version(request.model_spec, context)
        signatures = messages.SignatureDefMap()
        signature = signatures.signature_def["serving_default"]
        signature.inputs["history"].dtype = 7
        for size in (-1, -1):
            signature.inputs["history"].tensor_shape.dim.add(size=size)
        signature.outputs["items"].dtype = 7
        signature.outputs["items"].tensor_shape.unknown_rank = True
        signature.outputs["scores"].dtype = 1
        signature.outputs["flags"].dtype = 10
        packed = response.metadata["signature_def"]
        packed.type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        packed.value = signatures.SerializeToString()
        return response.SerializeToString()

    def _status(self, raw, context):
        spec = messages.GetModelStatusRequest.FromString(raw).model_spec
        if spec.name != MODEL:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        rows = dict(self.states)
        if spec.HasField("version"):
            if spec.version.value not in rows:
                words = f"Could not find version {spec.version.value} of model {spec.name}"
                context.abort(grpc.StatusCode.NOT_FOUND, words)
            rows = {spec.version.value: rows[spec.version.value]}
        response = messages.GetModelStatusResponse()
        for version, state in rows.items():
            row = response.model_version_status.add(version=version, state=STATES[state])
            row.status.error_code = 13 if version in self.errors else 0
            row.status.error_message = self.errors.get(version, "OK")
        return response.SerializeToString()

    def _reload(self, raw, context):
        request = messages.ReloadConfigRequest.FromString(raw)
        self.reloaded = [config.name for config in request.config.model_config_list.config]
        return messages.ReloadConfigResponse().SerializeToString()


def ranked(history: list[str], exclude: list[str] = ()) -> list[str]:
    """What the plain answer recommends, without padding."""
    return [item for item in RANKING if item not in history and item not in exclude][:K]


def _recommend(inputs):
    histories = inputs["history"]
    excludes = inputs.get("exclude", np.empty((len(histories), 0), object))
    items, scores = [], []
    for history, exclude in zip(histories, excludes, strict=True):
        best = ranked([item.decode() for item in history], [item.decode() for item in exclude])
        items.append([item.encode() for item in best] + [b""] * (K - len(best)))
        scores.append([float(K - place) for place in range(len(best))] + [-np.inf] * (K - len(best)))
    return {"items": np.array(items, object), "scores": np.array(scores, np.float32)}


def candidate_score(item: str) -> float:
    """Of "x12" 12; -inf for the padding and for ids that begin otherwise."""
    return float(item[1:]) if item.startswith("x") else -np.inf


def _score_items(inputs):
    scores = [[candidate_score(item.decode()) for item in row] for row in inputs["candidates"]]
    return {"scores": np.array(scores, np.float32)}


def _explain(inputs):
    """100 times the number of the candidate plus the number of the history's item; -1 at any padding."""
    blocks = []
    for history, candidates in zip(inputs["history"], inputs["candidates"], strict=True):
        numbers = [int(item[1:]) if item else None for item in history]
        rows = [
            [100 * int(item[1:]) + number if item and number is not None else -1 for number in numbers]
            for item in candidates
        ]
        blocks.append(rows)
    return {"contributions": np.array(blocks, np.float32)}


ANSWERS = {
    "serving_default": _recommend,
    "filtered": _recommend,
    "score_items": _score_items,
    "explain": _explain,
}


@contextlib.contextmanager
def listening(handle: Callable[[socket.socket], None]) -> Iterator[str]:
    """A TCP port whose every connection is given to `handle`, in a thread; yields the target."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connections: list[socket.socket] = []
        threads: list[threading.Thread] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connections.append(connection)
                    threads.append(threading.Thread(target=_quietly, args=(handle, connection), daemon=True))
                    threads[-1].start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for connection in connections:
                connection.close()


def _quietly(handle: Callable[[socket.socket], None], connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        handle(connection)


def never_answer(connection: socket.socket) -> None:
    """Accepts, reads, says nothing: a host that hangs behind a working network."""
    while connection.recv(65536):
        pass


def reset_in_mid_stream(connection: socket.socket) -> None:
    """Speaks HTTP/2 until a request is there, then breaks the connection with RST."""
    connection.sendall(bytes(3) + b"\x04" + bytes(5))  # an empty SETTINGS frame
    seen = b""
    while b"Predict" not in seen and len(seen) < 300:
        chunk = connection.recv(65536)
        if not chunk:
            return
        seen += chunk
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
