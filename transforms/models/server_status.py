"""Ask a running model server over gRPC (GetModelStatus) which versions it holds.

The answer has no labels. The server labels a version only while it is AVAILABLE, so a labelled version appears in the
answer. A label of a version that is not loaded appears only in the server's config file (`server_config`).
"""

from __future__ import annotations

import grpc

from serving_client.protocol import messages, methods
from transforms.errors import RecbeamError

__all__ = ["END", "STATES", "NoAnswer", "held_versions"]

TIMEOUT_S = 10.0
"""The server answers from a table in memory, so a slower answer means that something is wrong."""
STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
END = "END"
"""The version was unloaded or failed to load. Only in this state does the server not hold the version's files."""


class NoAnswer(RecbeamError):
    """The server could not be asked, or does not serve the model."""


def held_versions(server: str, model: str, timeout_s: float = TIMEOUT_S) -> dict[int, str]:
    """Return the state of every version that a server tracks.

    Args:
        server: HOST:PORT of the server.
        model: Name of the model.
        timeout_s: Deadline of the call in seconds.

    Returns:
        State by version: a name of STATES, or the number as text if STATES does not list it.

    Raises:
        NoAnswer: The call failed, also because the server does not serve the model.
    """
    options = [("grpc.enable_http_proxy", 0)]  # the server reads a folder of this machine, so no proxy is between
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
    # If a version appears twice, the state that keeps it on disk wins.
    rows = sorted(answer.model_version_status, key=lambda row: STATES.get(row.state) == END, reverse=True)
    return {row.version: STATES.get(row.state, str(row.state)) for row in rows}
