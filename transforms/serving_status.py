"""Which versions does a running model server hold? Asked over gRPC with GetModelStatus, as tensorflow_model_server has.

Labels are not in the answer. The server gives one only to a version that is AVAILABLE, so what it has labelled is in
the answer as AVAILABLE; labels of versions that are not loaded (now, or not any more) stand in its config file alone,
see `serving_config`.

The messages are described here, the four fields that are used: tensorflow_serving's own modules import TensorFlow
(11 s, 657 MB), which a program beside a server should not need. A private pool, so both can live in one process; a
test compares the two over the wire.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from transforms.errors import RecbeamError

__all__ = ["END", "STATES", "NoAnswer", "held_versions"]

METHOD = "/tensorflow.serving.ModelService/GetModelStatus"
TIMEOUT_S = 10.0
"""The answer is a look into a table; a server that needs longer than this is not well."""
STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
END = "END"
"""Unloaded, or failed to load: the one state in which the server does not hold a version's files."""


class NoAnswer(RecbeamError):
    """The server could not be asked, or does not know the model."""


def held_versions(server: str, model: str, timeout_s: float = TIMEOUT_S) -> dict[int, str]:
    """State, a name of STATES, of every version of `model` that the server at HOST:PORT tracks.

    A number that is not in STATES is given as it is. Raises NoAnswer, also where the server tracks none.
    """
    options = [("grpc.enable_http_proxy", 0)]  # the server reads this machine's folder: it is not behind a proxy
    with grpc.insecure_channel(server, options=options) as channel:
        ask = channel.unary_unary(
            METHOD,
            request_serializer=_Request.SerializeToString,
            response_deserializer=_Response.FromString,
        )
        try:
            answer = ask(_Request(model_spec={"name": model}), timeout=timeout_s)
        except grpc.RpcError as error:
            code = error.code().name if isinstance(error, grpc.Call) else "no status"
            details = (error.details() if isinstance(error, grpc.Call) else "") or "no details"
            raise NoAnswer(f"{server}, model {model}: {code}, {' '.join(details.split())}") from error
    # Should a version be there twice, the state that protects it wins.
    rows = sorted(answer.model_version_status, key=lambda row: STATES.get(row.state) == END, reverse=True)
    return {row.version: STATES.get(row.state, str(row.state)) for row in rows}


def _messages() -> tuple[Any, Any]:
    """GetModelStatusRequest and GetModelStatusResponse, as far as they are used; numbers as in tensorflow_serving/apis.

    The enum `state` is read as int32, which has the same bytes.
    """
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="recbeam/get_model_status.proto", package="tensorflow.serving", syntax="proto3"
    )

    def message(name: str, *fields: tuple[str, int, int, int, str]) -> None:
        described = file.message_type.add(name=name)
        for field, number, label, type_, type_name in fields:
            described.field.add(
                name=field, number=number, label=label, type=type_, type_name=type_name or None
            )  # fmt: skip

    one, many = int(kind.LABEL_OPTIONAL), int(kind.LABEL_REPEATED)
    text, int64, int32, other = (
        int(kind.TYPE_STRING),
        int(kind.TYPE_INT64),
        int(kind.TYPE_INT32),
        int(kind.TYPE_MESSAGE),
    )
    message("ModelSpec", ("name", 1, one, text, ""))
    message("GetModelStatusRequest", ("model_spec", 1, one, other, ".tensorflow.serving.ModelSpec"))
    message("ModelVersionStatus", ("version", 1, one, int64, ""), ("state", 2, one, int32, ""))
    message(
        "GetModelStatusResponse",
        ("model_version_status", 1, many, other, ".tensorflow.serving.ModelVersionStatus"),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = ("GetModelStatusRequest", "GetModelStatusResponse")
    request, response = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}")) for name in names
    )
    return request, response


_Request, _Response = _messages()
