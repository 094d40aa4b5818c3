"""Answer GetModelMetadata: the signatures of a version and nothing else, as in get_model_metadata_impl.cc."""

from __future__ import annotations

from typing import Any

import grpc

from local_serving.core import Core
from local_serving.errors import Status
from serving_client.protocol import messages

__all__ = ["model_metadata"]

SIGNATURE_DEF = "signature_def"


def model_metadata(core: Core, request: Any) -> Any:
    """Return the GetModelMetadataResponse to a request. Raise Status if it cannot be answered."""
    if not request.HasField("model_spec"):
        raise Status(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
    if not request.metadata_field:
        message = "GetModelMetadataRequest must specify at least one metadata_field"
        raise Status(grpc.StatusCode.INVALID_ARGUMENT, message)
    for field in request.metadata_field:
        if field != SIGNATURE_DEF:
            raise Status(grpc.StatusCode.INVALID_ARGUMENT, f"Metadata field {field} is not supported")
    with core.handle(request.model_spec) as handle:
        signatures = messages.SignatureDefMap()
        for name, signature in handle.model.signature_defs.items():
            signatures.signature_def[name].CopyFrom(signature)
        response = messages.GetModelMetadataResponse()
        response.model_spec.name = handle.name
        response.model_spec.version.value = handle.version
        response.metadata[SIGNATURE_DEF].Pack(signatures)
        return response
