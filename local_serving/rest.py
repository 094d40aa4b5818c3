"""Route a REST call and answer it like TensorFlow Serving's http_rest_api_handler.cc, without sockets.

    POST /v1/models/NAME[/versions/V | /labels/L]:predict      rest_json converts the bodies
    GET  /v1/models/NAME[/versions/V | /labels/L]              states of versions
    GET  /v1/models/NAME[/versions/V | /labels/L]/metadata     signatures

Any other path below /v1/ gets 400 `Malformed request`. :classify and :regress get 501, because they need signatures of
methods that this project does not export. Requests are converted to the messages of the gRPC services, so that the same
functions answer both (Backend).
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import types
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from google.protobuf import json_format

from local_serving import rest_json
from local_serving.core import Core
from local_serving.errors import StartError, Status
from local_serving.flags import Flags
from local_serving.metadata import model_metadata
from local_serving.model_service import model_status
from local_serving.predict import predict
from local_serving.rest_server import RestServer
from serving_client.contracts.signatures import SERVING_DEFAULT
from serving_client.protocol import messages

__all__ = ["HTTP_CODES", "Backend", "RestApi", "answer"]

_log = logging.getLogger(__name__)

HTTP_CODES: Mapping[grpc.StatusCode, int] = types.MappingProxyType(
    {
        grpc.StatusCode.OK: 200,
        grpc.StatusCode.CANCELLED: 499,
        grpc.StatusCode.UNKNOWN: 500,
        grpc.StatusCode.INVALID_ARGUMENT: 400,
        grpc.StatusCode.DEADLINE_EXCEEDED: 504,
        grpc.StatusCode.NOT_FOUND: 404,
        grpc.StatusCode.ALREADY_EXISTS: 409,
        grpc.StatusCode.PERMISSION_DENIED: 403,
        grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
        grpc.StatusCode.FAILED_PRECONDITION: 400,
        grpc.StatusCode.ABORTED: 409,
        grpc.StatusCode.OUT_OF_RANGE: 400,
        grpc.StatusCode.UNIMPLEMENTED: 501,
        grpc.StatusCode.INTERNAL: 500,
        grpc.StatusCode.UNAVAILABLE: 503,
        grpc.StatusCode.DATA_LOSS: 500,
        grpc.StatusCode.UNAUTHENTICATED: 401,
    }
)
"""TensorFlow Serving's table, model_servers/http_server.cc."""

WHICH = r"(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?"
PREDICTION = re.compile(rf"(?i)/v1/models/([^/:]+){WHICH}:(classify|regress|predict)", re.ASCII)
STATUS = re.compile(rf"(?i)/v1/models(?:/([^/:]+))?{WHICH}(?:/(metadata))?", re.ASCII)
BELOW = re.compile(r"(?i)/v1/.*", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Backend:
    """The functions of the gRPC services, which answer REST too. Each raises Status.

    Attributes:
        predict: (PredictRequest, timeout_s) -> PredictResponse.
        metadata: Answers GetModelMetadata.
        status: Answers GetModelStatus.
        signatures: Returns the SignatureDefs by name of the version that a ModelSpec names.
    """

    predict: Callable[[Any, float | None], Any]
    metadata: Callable[[Any], Any]
    status: Callable[[Any], Any]
    signatures: Callable[[Any], Mapping[str, Any]]


class RestApi:
    """REST for the models of a server, between `start` and `stop`.

    Args:
        core: The server.
        flags: The server's flags.
    """

    def __init__(self, core: Core, flags: Flags) -> None:
        def signatures(spec: Any) -> Mapping[str, Any]:
            with core.handle(spec) as handle:
                found: Mapping[str, Any] = handle.model.signature_defs
                return found

        self._backend = Backend(
            predict=lambda request, timeout_s: predict(core, request, timeout_s),
            metadata=lambda request: model_metadata(core, request),
            status=lambda request: model_status(core, request),
            signatures=signatures,
        )
        self._timeout_s = flags.rest_api_timeout_in_ms / 1000
        self._threads = flags.rest_api_num_threads
        self._server: RestServer | None = None

    def start(self, host: str, port: int) -> int:
        """Listen, and return the port. 0 uses any free port. Raise StartError if the port is taken."""
        try:
            self._server = RestServer(self._answer, host, port, self._threads)
        except OSError as error:
            raise StartError(
                f"cannot listen on {host}:{port} ({error.strerror}); use another --rest_api_port"
            ) from error
        self._server.start()
        return self._server.port

    def stop(self, drain_s: float) -> None:
        """Accept no new requests, and wait at most drain_s seconds for those in flight."""
        if self._server:
            self._server.stop(drain_s)

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes] | None:
        return answer(self._backend, method, path, body, self._timeout_s)


def answer(
    backend: Backend, method: str, path: str, body: bytes, timeout_s: float | None = None
) -> tuple[int, bytes] | None:
    """Answer a REST call. Never raises.

    Args:
        backend: Functions that answer.
        method: HTTP method.
        path: Path without the query, with escapes as sent.
        body: Body of the request.
        timeout_s: Timeout of a predict in seconds.

    Returns:
        HTTP status code and JSON body. None for a path outside /v1/.
    """
    if not BELOW.fullmatch(path):
        return None
    try:
        return 200, _answer(backend, method, path, body, timeout_s)
    except Status as error:
        return HTTP_CODES[error.code], _json({"error": error.message})
    except Exception as error:  # the client gets the fault and not a broken connection
        _log.exception("an error in local_serving")
        return 500, _json({"error": f"{type(error).__name__}: {error}"})


def _answer(backend: Backend, method: str, path: str, body: bytes, timeout_s: float | None) -> bytes:
    found = {"POST": PREDICTION, "GET": STATUS}.get(method)
    matched = found.fullmatch(path) if found else None
    if matched is None:
        raise Status(grpc.StatusCode.INVALID_ARGUMENT, f"Malformed request: {method} {path}")
    name, version, label, what = matched.groups()
    spec = _spec(name, version, label)
    if method == "GET":
        return _metadata(backend, spec) if what else _status(backend, spec)
    if what.lower() != "predict":
        raise Status(grpc.StatusCode.UNIMPLEMENTED, f"{what} is not implemented by local_serving; use predict")
    return _predict(backend, spec, body, timeout_s)


def _spec(name: str | None, version: str | None, label: str | None) -> Any:
    if not name:
        raise Status(grpc.StatusCode.INVALID_ARGUMENT, "Missing model name in request.")
    spec = messages.ModelSpec(name=urllib.parse.unquote(name))
    if version is not None:
        digits = version.lstrip("0") or "0"
        if len(digits) > 19 or int(digits) >= 2**63:
            raise Status(grpc.StatusCode.INVALID_ARGUMENT, f"Failed to convert version: {version} to numeric.")
        spec.version.value = int(digits)
    if label is not None:
        spec.version_label = urllib.parse.unquote(label)
    return spec


def _predict(backend: Backend, spec: Any, body: bytes, timeout_s: float | None) -> bytes:
    def inputs_of(signature: str) -> Mapping[str, Any]:
        signatures = backend.signatures(spec)
        wanted = signature or SERVING_DEFAULT
        if wanted not in signatures:
            message = f'Serving signature name: "{wanted}" not found in signature def'
            raise Status(grpc.StatusCode.INVALID_ARGUMENT, message)
        inputs: Mapping[str, Any] = signatures[wanted].inputs
        return inputs

    request = messages.PredictRequest(model_spec=spec)
    rows = rest_json.fill_request(body, request, inputs_of)
    return rest_json.written(backend.predict(request, timeout_s).outputs, rows)


def _status(backend: Backend, spec: Any) -> bytes:
    return _json(_fields(backend.status(messages.GetModelStatusRequest(model_spec=spec))))


def _metadata(backend: Backend, spec: Any) -> bytes:
    request = messages.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
    response = backend.metadata(request)
    signatures = messages.SignatureDefMap.FromString(response.metadata["signature_def"].value)
    content = {"model_spec": _fields(response.model_spec), "metadata": {"signature_def": _fields(signatures)}}
    return _json(content)


def _fields(message: Any) -> dict[str, Any]:
    fields: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return fields


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, indent=1).encode("utf-8", "replace")
