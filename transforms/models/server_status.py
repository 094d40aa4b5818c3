"""Which versions does a running model server hold? Asked over gRPC with GetModelStatus, as tensorflow_model_server has.

Labels are not in the answer. The server gives one only to a version that is AVAILABLE, so what it has labelled is in
the answer as AVAILABLE; labels of versions that are not loaded (now, or not any more) stand in its config file alone,
see `server_config`.
"""

from __future__ import annotations

import grpc

from serving_client.protocol import messages, methods
from transforms.errors import RecbeamError

__all__ = ["END", "STATES", "NoAnswer", "held_versions"]

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
            methods.GET_MODEL_STATUS,
            request_serializer=messages.GetModelStatusRequest.SerializeToString,
            response_deserializer=messages.GetModelStatusResponse.FromString,
        )
        try:
            answer = ask(messages.GetModelStatusRequest(model_spec={"name": model}), timeout=timeout_s)
        except grpc.RpcError as error:
            code = error.code().name if isinstance(error, grpc.Call) else "no status"
            details = (error.details() if isinstance(error, grpc.Call) else "") or "no details"
            raise NoAnswer(f"{server}, model {model}: {code}, {' '.join(details.split())}") from error
    # Should a version be there twice, the state that protects it wins.
    rows = sorted(answer.model_version_status, key=lambda row: STATES.get(row.state) == END, reverse=True)
    return {row.version: STATES.get(row.state, str(row.state)) for row in rows}
