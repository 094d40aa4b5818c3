"""The classes of all protocol messages, without tensorflow_serving's modules.

    from serving_client.protocol import messages
    request = messages.PredictRequest(model_spec=messages.ModelSpec(name="cf"))

tensorflow_serving's own modules import TensorFlow (11 s, 657 MB) and register their descriptors in protobuf's default
pool, where two copies of a file clash. This module reads the descriptors from two files, which
`tools/generate_protocol.py` writes, into a private pool for each file. So both packages work in one process, imported
in any order. The classes differ from tensorflow_serving's, so pass serialized bytes from one package to the other.

A file is read when one of its messages is first used: serving.binpb for package tensorflow.serving, and inference.binpb
for the Open Inference Protocol v2 (package inference).
"""

from __future__ import annotations

import os
import pathlib
import threading
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = [
    "FILES",
    "GetModelMetadataRequest",
    "GetModelMetadataResponse",
    "GetModelStatusRequest",
    "GetModelStatusResponse",
    "ModelInferRequest",
    "ModelInferResponse",
    "ModelMetadataRequest",
    "ModelMetadataResponse",
    "ModelReadyRequest",
    "ModelReadyResponse",
    "ModelServerConfig",
    "ModelSpec",
    "ModelVersionStatus",
    "PredictRequest",
    "PredictResponse",
    "PredictionLog",
    "ReloadConfigRequest",
    "ReloadConfigResponse",
    "ServerLiveRequest",
    "ServerLiveResponse",
    "ServerMetadataRequest",
    "ServerMetadataResponse",
    "ServerReadyRequest",
    "ServerReadyResponse",
    "SignatureDef",
    "SignatureDefMap",
    "TensorInfo",
    "TensorProto",
]

FILES: dict[str, tuple[str, ...]] = {
    "serving.binpb": (
        "tensorflow.SignatureDef",
        "tensorflow.TensorInfo",
        "tensorflow.TensorProto",
        "tensorflow.serving.GetModelMetadataRequest",
        "tensorflow.serving.GetModelMetadataResponse",
        "tensorflow.serving.GetModelStatusRequest",
        "tensorflow.serving.GetModelStatusResponse",
        "tensorflow.serving.ModelServerConfig",
        "tensorflow.serving.ModelSpec",
        "tensorflow.serving.ModelVersionStatus",
        "tensorflow.serving.PredictRequest",
        "tensorflow.serving.PredictResponse",
        "tensorflow.serving.PredictionLog",
        "tensorflow.serving.ReloadConfigRequest",
        "tensorflow.serving.ReloadConfigResponse",
        "tensorflow.serving.SignatureDefMap",
    ),
    "inference.binpb": (
        "inference.ModelInferRequest",
        "inference.ModelInferResponse",
        "inference.ModelMetadataRequest",
        "inference.ModelMetadataResponse",
        "inference.ModelReadyRequest",
        "inference.ModelReadyResponse",
        "inference.ServerLiveRequest",
        "inference.ServerLiveResponse",
        "inference.ServerMetadataRequest",
        "inference.ServerMetadataResponse",
        "inference.ServerReadyRequest",
        "inference.ServerReadyResponse",
    ),
}
"""Full names of the messages of each file. The file also holds the messages that these refer to."""

# __getattr__ makes these classes at their first use. messages.pyi describes them for type checkers.
GetModelMetadataRequest: Any
GetModelMetadataResponse: Any
GetModelStatusRequest: Any
GetModelStatusResponse: Any
ModelInferRequest: Any
ModelInferResponse: Any
ModelMetadataRequest: Any
ModelMetadataResponse: Any
ModelReadyRequest: Any
ModelReadyResponse: Any
ModelServerConfig: Any
ModelSpec: Any
ModelVersionStatus: Any
PredictRequest: Any
PredictResponse: Any
PredictionLog: Any
ReloadConfigRequest: Any
ReloadConfigResponse: Any
ServerLiveRequest: Any
ServerLiveResponse: Any
ServerMetadataRequest: Any
ServerMetadataResponse: Any
ServerReadyRequest: Any
ServerReadyResponse: Any
SignatureDef: Any
SignatureDefMap: Any
TensorInfo: Any
TensorProto: Any

_lock = threading.Lock()


def _own_lock() -> None:
    """Replace the lock in a forked child. The thread that held it at the fork does not exist there."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_own_lock)


def __getattr__(name: str) -> Any:
    """Make a message's class at its first use. From then on it is an ordinary attribute (PEP 562)."""
    for file, full_names in FILES.items():
        if any(full_name.rpartition(".")[2] == name for full_name in full_names):
            with _lock:
                if (
                    name not in globals()
                ):  # another thread may have made the classes already; a second pool would make different ones
                    globals().update(_classes(file))
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _classes(file: str) -> dict[str, Any]:
    """Make the message classes of a file, by short name, in their own pool."""
    described = descriptor_pb2.FileDescriptorSet.FromString((pathlib.Path(__file__).parent / file).read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for proto in described.file:  # files are in the order of their imports
        pool.AddSerializedFile(proto.SerializeToString())
    classes = {}
    for full_name in FILES[file]:
        message = message_factory.GetMessageClass(pool.FindMessageTypeByName(full_name))
        message.__module__ = __name__  # otherwise it is None, and pickle searches all modules for the class
        classes[message.__name__] = message
    return classes
