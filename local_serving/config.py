"""Read a ModelServerConfig: models, their base paths, which versions to serve, and the labels of versions.

Config files are text protos. The messages about an unusable config are those of tensorflow_model_server.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from local_serving.errors import StartError, Status
from serving_client.protocol import messages

__all__ = ["Model", "Policy", "Ssl", "models_of", "one_model", "read_config", "read_ssl", "read_text"]

PLATFORM = "tensorflow"
_TENSORFLOW, _UNSPECIFIED = 1, 0


@dataclasses.dataclass(frozen=True)
class Policy:
    """Versions to serve: the newest `latest`, or those in `specific`. If both are None, all versions."""

    latest: int | None = 1
    specific: frozenset[int] | None = None


@dataclasses.dataclass(frozen=True)
class Model:
    """One entry of a config.

    Attributes:
        name: Name of the model.
        base_path: Folder of its versions.
        platform: Always "tensorflow" in a valid config.
        policy: Which versions to serve.
        labels: Version by label.
    """

    name: str
    base_path: str
    platform: str = PLATFORM
    policy: Policy = Policy()
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Ssl:
    """Keys and certificates in PEM. If client_verify is set, a client needs a certificate of custom_ca."""

    server_key: bytes = dataclasses.field(repr=False)
    server_cert: bytes
    custom_ca: bytes
    client_verify: bool


def read_config(path: str | os.PathLike[str]) -> Any:
    """Read a config file as a ModelServerConfig. Raise StartError if it is not one."""
    return read_text(path, messages.ModelServerConfig(), "--model_config_file", "model server config")


def one_model(name: str, base_path: str) -> Any:
    """Return the ModelServerConfig that --model_name and --model_base_path describe."""
    entry = {"name": name, "base_path": base_path, "model_platform": PLATFORM}
    return messages.ModelServerConfig(model_config_list={"config": [entry]})


def read_text(path: str | os.PathLike[str], message: Any, flag: str, kind: str) -> Any:
    """Parse a text proto file into `message`.

    Args:
        path: The file.
        message: Message to fill.
        flag: Flag that names the file, for error messages.
        kind: What the file should be, for error messages.

    Raises:
        StartError: The file cannot be read or parsed.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return text_format.Parse(file.read(), message)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise StartError(f"{path}: cannot be read ({reason}); check {flag}") from error
    except text_format.ParseError as error:
        raise StartError(f"{path}: is not a valid {kind} ({error}); correct it") from error


def models_of(config: Any, before: Sequence[Model] = ()) -> tuple[Model, ...]:
    """Return the models of a ModelServerConfig, in its order.

    Args:
        config: The ModelServerConfig.
        before: Models that are served now. A model may not change its platform.

    Raises:
        Status: The config is not valid. The message is that of server_core.cc.
    """
    entries = config.model_config_list.config
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            raise _invalid(f"Illegal to list model {entry.name} multiple times in config list")
        seen.add(entry.name)
    for entry in entries:
        if not os.path.isabs(entry.base_path) and "://" not in entry.base_path:
            raise _invalid(
                f"Expected model {entry.name} to have an absolute path or URI; got base_path()={entry.base_path}"
            )
        if "\0" in entry.base_path:
            raise _invalid(f"Expected model {entry.name} to have a base_path without NUL; got {entry.base_path!r}")
    platforms = {model.name: model.platform for model in before}
    models = tuple(_model(entry) for entry in entries)
    for model in models:
        known = platforms.get(model.name, model.platform)
        if known != model.platform:
            raise _invalid(
                f"Illegal to change a model's platform. For model {model.name} platform was {known} and new platform"
                f" requested is {model.platform}"
            )
    for model in models:
        if model.platform != PLATFORM:
            raise _invalid(f"Model {model.name} requests unsupported platform {model.platform}")
    return models


def _model(entry: Any) -> Model:
    return Model(entry.name, entry.base_path, _platform(entry), _policy(entry), dict(entry.version_labels))


def _platform(entry: Any) -> str:
    if entry.model_type != _UNSPECIFIED:
        if entry.model_platform:
            raise _invalid(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
            )
        if entry.model_type != _TENSORFLOW:
            raise _invalid(f"ModelServerConfig::model_type choice {entry.model_type} not supported.")
        return PLATFORM
    if not entry.model_platform:
        raise _invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform."
        )
    return str(entry.model_platform)


def _policy(entry: Any) -> Policy:
    policy = entry.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "specific":
        return Policy(None, frozenset(policy.specific.versions))
    if choice == "all":
        return Policy(None)
    return Policy(max(1, policy.latest.num_versions))


def _invalid(message: str) -> Status:
    return Status(grpc.StatusCode.INVALID_ARGUMENT, message)


def read_ssl(path: str | os.PathLike[str]) -> Ssl:
    """Read the SSLConfig at `path`. Raise StartError if it is not one."""
    config = read_text(path, _ssl_config(), "--ssl_config_file", "SSLConfig")
    if not config.server_key or not config.server_cert:
        raise StartError(f"{path}: has no server_key or no server_cert; add the PEM text itself, not a path")
    return Ssl(config.server_key.encode(), config.server_cert.encode(), config.custom_ca.encode(), config.client_verify)


def _ssl_config() -> Any:
    """Return an empty tensorflow.serving.SSLConfig. The package of protos lacks config/ssl_config.proto."""
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="local_serving/ssl_config.proto", package="tensorflow.serving", syntax="proto3"
    )
    described = file.message_type.add(name="SSLConfig")
    for number, name in enumerate(("server_key", "server_cert", "custom_ca"), start=1):
        described.field.add(name=name, number=number, label=kind.LABEL_OPTIONAL, type=kind.TYPE_STRING)
    described.field.add(name="client_verify", number=4, label=kind.LABEL_OPTIONAL, type=kind.TYPE_BOOL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.serving.SSLConfig"))()
