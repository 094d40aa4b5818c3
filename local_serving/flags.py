"""Parse the flags of tensorflow_model_server that this server supports, with the same names, defaults and spelling.

`--host` is the one flag that tensorflow_model_server lacks.

Flags are written `--name=value`, or `--name` for a bool. A flag of the real server that has no effect here is accepted
and named in a warning, so that one command line fits both servers. A flag that neither server has raises UsageError.
(The real server only warns, so a typing error goes unnoticed.)
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
import types
from collections.abc import Sequence
from typing import Any

from local_serving.errors import UsageError

__all__ = ["Flags", "channel_arguments", "parse", "usage"]


def _flag(default: Any, text: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True)
class Flags:
    """The value of every flag. `ignored` lists the given flags that have no effect here."""

    host: str = _flag(
        "127.0.0.1",
        "address to listen on; 0.0.0.0: all of this machine's (only here; tensorflow_model_server listens on all)",
    )
    port: int = _flag(8500, "port for gRPC; 0 uses any free port (tensorflow_model_server: no gRPC)")
    grpc_socket_path: str = _flag("", "UNIX socket to listen on for gRPC as well")
    rest_api_port: int = _flag(0, "port for REST; 0: no REST; -1 (only here): any free port")
    rest_api_num_threads: int = _flag(4 * (os.cpu_count() or 1), "threads that answer REST requests")
    rest_api_timeout_in_ms: int = _flag(30_000, "longest time a REST request may take, in milliseconds")
    model_name: str = _flag("default", "name of the one model; not with --model_config_file")
    model_base_path: str = _flag("", "absolute path of the folder that holds its versions, NUMBER/saved_model.pb")
    model_config_file: str = _flag("", "ModelServerConfig as text: several models, version policies, labels")
    model_config_file_poll_wait_seconds: int = _flag(0, "seconds between two reads of that file; 0: read it once")
    allow_version_labels_for_unavailable_models: bool = _flag(
        False, "allow a new label for a version that is not loaded; needed for labels when the server starts"
    )
    file_system_poll_wait_seconds: float = _flag(
        1.0, "seconds between two searches for new versions (fractions only here); 0: search once; below 0: never"
    )
    max_num_load_retries: int = _flag(5, "how often a failed load is retried")
    load_retry_interval_micros: int = _flag(60_000_000, "microseconds between two tries of a load; below 0: no wait")
    num_load_threads: int = _flag(0, "how many versions load at the same time; 0 counts as 1")
    enable_model_warmup: bool = _flag(True, "replay assets.extra/tf_serving_warmup_requests before a version serves")
    num_request_iterations_for_warmup: int = _flag(0, "how often each warm-up request is replayed; 0 counts as 1")
    enable_batching: bool = _flag(False, "run requests that wait at the same time as one batch")
    batching_parameters_file: str = _flag("", "BatchingParameters as text; needs --enable_batching")
    enable_serialization_as_tensor_content: bool = _flag(False, "answer in tensor_content, not in float_val and others")
    enable_grpc_healthcheck_service: bool = _flag(False, "answer grpc.health.v1.Health")
    ssl_config_file: str = _flag("", "SSLConfig as text: server_key, server_cert, custom_ca, client_verify")
    grpc_max_threads: int = _flag(4 * (os.cpu_count() or 1), "threads that answer gRPC requests")
    grpc_channel_arguments: str = _flag(
        "", "KEY=VALUE,… options of the gRPC server, for example grpc.max_connection_age_ms=2000"
    )
    saved_model_tags: str = _flag("serve", "comma-separated tags of the graph to load")
    tensorflow_session_parallelism: int = _flag(
        0, "intra-op and inter-op threads of a TensorFlow session; 0: TensorFlow chooses"
    )
    tensorflow_intra_op_parallelism: int = _flag(0, "threads of one operation")
    tensorflow_inter_op_parallelism: int = _flag(0, "operations that run at the same time")
    per_process_gpu_memory_fraction: float = _flag(0.0, "fraction of the GPU's memory to use; 0: TensorFlow chooses")
    version: bool = _flag(False, "print the versions and exit")
    ignored: tuple[str, ...] = dataclasses.field(default=(), metadata={"help": ""})


_NO_EFFECT = (
    "enable_cors_support enable_per_model_batching_parameters enable_profiler enable_signature_method_name_check"
    " flush_filesystem_caches mixed_precision monitoring_config_file num_tflite_interpreters_per_pool num_tflite_pools"
    " num_unload_threads platform_config_file prefer_tflite_model remove_unused_fields_from_bundle_metagraph"
    " rest_api_enable_cors_support skip_initialize_tpu tensorflow_session_config_file thread_pool_factory_config_file"
    " use_alts_credentials xla_cpu_compilation_enabled xla_gpu_compilation_enabled"
).split()
_BOOLS = types.MappingProxyType({"true": True, "false": False})
_FIELDS = {field.name: field for field in dataclasses.fields(Flags) if field.name != "ignored"}


def parse(arguments: Sequence[str]) -> Flags:
    """Parse a command line.

    Raises:
        UsageError: A flag is unknown or its value is not valid. The message says what to do.
    """
    values: dict[str, Any] = {}
    ignored = []
    for argument in arguments:
        if not argument.isascii() and argument.encode(errors="replace").decode() != argument:
            raise UsageError(f"{argument!a} is not UTF-8; use names and paths that are")
        name, equals, text = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or name not in {*_FIELDS, *_NO_EFFECT}:
            close = difflib.get_close_matches(name, [*_FIELDS, *_NO_EFFECT], 1)
            raise UsageError(f"unknown argument {argument}; {f'did you mean --{close[0]}?' if close else 'see --help'}")
        if name in _NO_EFFECT:
            ignored.append(name)
        else:
            values[name] = _value(name, text if equals else None)
    flags = Flags(**values, ignored=tuple(ignored))
    _check(flags)
    return flags


def usage(program: str) -> str:
    """Return the text of --help."""
    lines = [
        f"usage: {program} --model_name=NAME --model_base_path=PATH [--flag=value …]",
        "",
        "Serves SavedModels over gRPC and REST like tensorflow_model_server, with its flags, for development and",
        "tests. It is not made for production. In production run the real tensorflow_model_server (the container",
        "tensorflow/serving) with the same flags.",
        "",
    ]
    for name, field in _FIELDS.items():
        default = str(field.default).lower() if isinstance(field.default, bool) else field.default
        lines.append(f"  --{name}" + (f" (default {default})" if default not in ("", "false") else ""))
        lines.append(f"      {field.metadata['help']}")
    lines += ["", "Accepted without effect: " + ", ".join(f"--{name}" for name in _NO_EFFECT) + "."]
    return "\n".join(lines)


def _value(name: str, text: str | None) -> Any:
    kind: type = type(_FIELDS[name].default)
    if kind is bool:
        if (text or "true") not in _BOOLS or text == "":
            raise UsageError(f"--{name}={text} is neither true nor false; write --{name} or --{name}=false")
        return _BOOLS[text or "true"]
    if text is None:
        raise UsageError(f"--{name} has no value; write --{name}=VALUE")
    try:
        value = kind(text)
        if kind is float and not math.isfinite(value):
            raise ValueError(text)
        return value
    except ValueError:
        raise UsageError(
            f"--{name}={text} is not a {'whole number' if kind is int else 'number'}; correct it"
        ) from None


def channel_arguments(text: str) -> list[tuple[str, int | str]]:
    """Parse the value of --grpc_channel_arguments into gRPC's options. Raise UsageError if it is not valid."""
    options: list[tuple[str, int | str]] = []
    for pair in filter(None, text.split(",")):
        key, _, value = pair.partition("=")
        number = re.fullmatch("-?0*([0-9]+)", value)
        if not key or (number and (len(number[1]) > 10 or not -(2**31) <= int(value) < 2**31)):
            raise UsageError(f"--grpc_channel_arguments has {pair}; use KEY=VALUE, whole numbers within 32 bits")
        options.append((key, int(value) if number else value))
    return options


def _check(flags: Flags) -> None:
    if flags.version:
        return
    channel_arguments(flags.grpc_channel_arguments)
    if not flags.model_base_path and not flags.model_config_file:
        raise UsageError("neither --model_base_path nor --model_config_file is given; pass one of them")
    if flags.batching_parameters_file and not flags.enable_batching:
        raise UsageError("--batching_parameters_file has no effect without --enable_batching; pass both or neither")
    for name, lowest in {"port": 0, "rest_api_port": -1}.items():
        value = getattr(flags, name)
        if not lowest <= value <= 65535:
            raise UsageError(f"--{name}={value} is not a port; use {lowest} to 65535")
    if not flags.host or ":" in flags.host:
        raise UsageError(f"--host={flags.host} is not an IPv4 address or a name; use for example 127.0.0.1 or 0.0.0.0")
    if flags.port == flags.rest_api_port != 0:
        raise UsageError(f"--rest_api_port={flags.port} is the same as --port; use another port")
    for name in ("rest_api_num_threads", "grpc_max_threads"):
        if getattr(flags, name) < 1:
            raise UsageError(f"--{name}={getattr(flags, name)} is less than 1; use at least 1")
