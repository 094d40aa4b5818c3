"""Answer ModelService: the states of versions, and a new config for the running server."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import grpc

from local_serving.core import Core
from local_serving.errors import Status
from local_serving.servables import VersionState
from serving_client.protocol import messages

__all__ = ["model_status", "reload_config"]

_log = logging.getLogger(__name__)


def model_status(core: Core, request: Any) -> Any:
    """Return a GetModelStatusResponse: one row if the request has a version, otherwise one per version ever tracked.

    Rows are sorted by version, highest first. Like the real server, this ignores a label.

    Raises:
        Status: The request has no model, or the model has no such version.
    """
    if not request.HasField("model_spec"):
        raise Status(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
    spec = request.model_spec
    rows = core.states(spec.name)
    if spec.HasField("version"):
        version = spec.version.value
        if version not in rows:
            raise Status(grpc.StatusCode.NOT_FOUND, f"Could not find version {version} of model {spec.name}")
        rows = {version: rows[version]}
    elif not rows:
        raise Status(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {spec.name}")
    response = messages.GetModelStatusResponse()
    for version, row in rows.items():
        _add_row(response, version, row)
    return response


def reload_config(core: Core, request: Any, wanted: Callable[[], bool] = lambda: True) -> tuple[Any, Status | None]:
    """Apply a new config.

    Args:
        core: The server.
        request: A ReloadConfigRequest.
        wanted: Returns False if the caller no longer waits. Before the config is applied this cancels it. While new
            models load, it ends the waiting.

    Returns:
        A ReloadConfigResponse, and the error that it holds or None.
    """
    response = messages.ReloadConfigResponse()
    try:
        if request.config.WhichOneof("config") != "model_config_list":
            raise Status(
                grpc.StatusCode.INVALID_ARGUMENT,
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently"
                " supported",
            )
        core.reload(request.config, wanted)
    except Status as error:
        _log.error("ReloadConfig failed: %s", error.message)
        failed = error
    except Exception as error:
        _log.exception("an error in local_serving")
        failed = Status(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
    else:
        return response, None
    response.status.error_code = failed.code.value[0]
    response.status.error_message = failed.message
    return response, failed


def _add_row(response: Any, version: int, row: VersionState) -> None:
    added = response.model_version_status.add(version=version, state=int(row.state))
    added.status.SetInParent()
    if row.error:
        added.status.error_code = row.error.code.value[0]
        added.status.error_message = row.error.message
