"""Write serving_client/protocol/*.binpb, the descriptors of the client's messages.

    python tools/generate_protocol.py           # writes the files that differ
    python tools/generate_protocol.py --check   # writes nothing; exit code 1 if a file is stale

serving.binpb is extracted from the installed tensorflow-serving-api and TensorFlow. It contains the messages that
`serving_client.protocol.messages` lists, and the messages that these refer to. Only this script imports the packages.
inference.binpb is the Open Inference Protocol v2. OPEN_INFERENCE below lists its fields by name, number and type, as in
the specification (github.com/kserve/open-inference-protocol, specification/protocol/inference_grpc.md).
serving_client/protocol/SOURCES.txt lists the versions.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2

ROOT = pathlib.Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # for a script, sys.path[0] is the folder of the script
    sys.path.insert(0, str(ROOT))

from serving_client.protocol import messages  # noqa: E402

__all__ = ["contents", "main"]

FOLDER = ROOT / "serving_client" / "protocol"
PACKAGES = ("tensorflow-serving-api", "tensorflow")
MODULES = (
    "tensorflow_serving.apis.get_model_metadata_pb2",
    "tensorflow_serving.apis.get_model_status_pb2",
    "tensorflow_serving.apis.model_management_pb2",
    "tensorflow_serving.apis.predict_pb2",
    "tensorflow_serving.apis.prediction_log_pb2",
)
"""The modules that define all messages of serving.binpb, directly or through their imports."""

PARAMETERS = "map<string,InferParameter>"
TENSOR = {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "repeated int64")}
TENSOR_WITH_CONTENTS = {**TENSOR, "parameters": (4, PARAMETERS), "contents": (5, "InferTensorContents")}
NAME_AND_VERSION = {"name": (1, "string"), "version": (2, "string")}
OPEN_INFERENCE: dict[str, dict[str, tuple[int, str]]] = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": (1, "bool")},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": (1, "bool")},
    "ModelReadyRequest": NAME_AND_VERSION,
    "ModelReadyResponse": {"ready": (1, "bool")},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {**NAME_AND_VERSION, "extensions": (3, "repeated string")},
    "ModelMetadataRequest": NAME_AND_VERSION,
    "ModelMetadataResponse": {
        "name": (1, "string"),
        "versions": (2, "repeated string"),
        "platform": (3, "string"),
        "inputs": (4, "repeated ModelMetadataResponse.TensorMetadata"),
        "outputs": (5, "repeated ModelMetadataResponse.TensorMetadata"),
    },
    "ModelMetadataResponse.TensorMetadata": TENSOR,
    "ModelInferRequest": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, PARAMETERS),
        "inputs": (5, "repeated ModelInferRequest.InferInputTensor"),
        "outputs": (6, "repeated ModelInferRequest.InferRequestedOutputTensor"),
        "raw_input_contents": (7, "repeated bytes"),
    },
    "ModelInferRequest.InferInputTensor": TENSOR_WITH_CONTENTS,
    "ModelInferRequest.InferRequestedOutputTensor": {"name": (1, "string"), "parameters": (2, PARAMETERS)},
    "ModelInferResponse": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, PARAMETERS),
        "outputs": (5, "repeated ModelInferResponse.InferOutputTensor"),
        "raw_output_contents": (6, "repeated bytes"),
    },
    "ModelInferResponse.InferOutputTensor": TENSOR_WITH_CONTENTS,
    "InferParameter": {
        "bool_param": (1, "oneof parameter_choice bool"),
        "int64_param": (2, "oneof parameter_choice int64"),
        "string_param": (3, "oneof parameter_choice string"),
    },
    "InferTensorContents": {
        "bool_contents": (1, "repeated bool"),
        "int_contents": (2, "repeated int32"),
        "int64_contents": (3, "repeated int64"),
        "uint_contents": (4, "repeated uint32"),
        "uint64_contents": (5, "repeated uint64"),
        "fp32_contents": (6, "repeated float"),
        "fp64_contents": (7, "repeated double"),
        "bytes_contents": (8, "repeated bytes"),
    },
}
"""Number and type of each field, by message. A name with a dot is a nested message."""


def contents() -> dict[str, bytes]:
    """Return the expected content of each file in serving_client/protocol. Imports TensorFlow."""
    versions = "".join(f"{package} {importlib.metadata.version(package)}\n" for package in PACKAGES)
    return {
        "serving.binpb": _serialize(serving(messages.FILES["serving.binpb"])),
        "inference.binpb": _serialize(descriptor_pb2.FileDescriptorSet(file=[open_inference()])),
        "SOURCES.txt": (
            "Written by tools/generate_protocol.py.\n\n"
            f"serving.binpb, messages and enums cut out of:\n{versions}\n"
            "inference.binpb, from the table in that script:\nOpen Inference Protocol v2\n"
        ).encode(),
    }


def serving(wanted: Sequence[str]) -> descriptor_pb2.FileDescriptorSet:
    """Extract messages, and the definitions that they refer to, from the installed packages.

    A file follows the files that it imports. Options of a file, such as its Java package, are dropped, because they do
    not affect the bytes of a message.

    Args:
        wanted: Full names of messages.
    """
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for module in MODULES:
        _add_with_imports(importlib.import_module(module).DESCRIPTOR, files)
    definitions = {
        f"{file.package}.{definition.name}": (file, definition)
        for file in files.values()
        for definition in (*file.message_type, *file.enum_type)
    }
    reached: set[str] = set()
    waiting = [_outermost(name, definitions) for name in wanted]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [_outermost(other, definitions) for other in _references(definitions[name][1])]
    homes = {name: definitions[name][0].name for name in reached}
    described = descriptor_pb2.FileDescriptorSet()
    for file in files.values():
        if file.name not in homes.values():
            continue
        kept = described.file.add(name=file.name, package=file.package)
        if file.syntax:  # not set for a proto2 file, and "" is not a valid syntax
            kept.syntax = file.syntax
        for definition in (*file.message_type, *file.enum_type):
            if f"{file.package}.{definition.name}" in reached:
                same_kind = kept.message_type if definition in file.message_type else kept.enum_type
                same_kind.add().CopyFrom(definition)
        needed = {
            homes[_outermost(name, definitions)] for message in kept.message_type for name in _references(message)
        }
        kept.dependency.extend(sorted(needed - {file.name}))
    return described


def open_inference() -> descriptor_pb2.FileDescriptorProto:
    """Convert OPEN_INFERENCE to a file descriptor."""
    file = descriptor_pb2.FileDescriptorProto(name="open_inference_v2.proto", package="inference", syntax="proto3")
    described: dict[str, descriptor_pb2.DescriptorProto] = {}
    for full_name, fields in OPEN_INFERENCE.items():
        outer, _, name = full_name.rpartition(".")
        message = (described[outer].nested_type if outer else file.message_type).add(name=name)
        described[full_name] = message
        for field, (number, kind) in fields.items():
            _add_field(message, full_name, field, number, kind)
    return file


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Return 1 if --check finds a stale file, otherwise 0."""
    parser = argparse.ArgumentParser(description="Write serving_client/protocol/*.binpb.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file is stale")
    check = parser.parse_args(argv).check
    stale = 0
    for name, content in contents().items():
        path = FOLDER / name
        if path.exists() and path.read_bytes() == content:
            continue
        stale += 1
        if not check:
            path.write_bytes(content)
        print(f"{path.relative_to(ROOT)}: {'stale; run python tools/generate_protocol.py' if check else 'written'}")
    return 1 if check and stale else 0


def _serialize(described: descriptor_pb2.FileDescriptorSet) -> bytes:
    serialized: bytes = described.SerializeToString(deterministic=True)
    return serialized


def _add_with_imports(descriptor: Any, files: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
    """Add a FileDescriptor and all its imports, imports first."""
    if descriptor.name in files:
        return
    for imported in descriptor.dependencies:
        _add_with_imports(imported, files)
    files[descriptor.name] = descriptor_pb2.FileDescriptorProto.FromString(descriptor.serialized_pb)


def _references(definition: descriptor_pb2.DescriptorProto | descriptor_pb2.EnumDescriptorProto) -> Iterator[str]:
    """Yield the full names of all message and enum types in the fields of a message and its nested messages."""
    if isinstance(definition, descriptor_pb2.EnumDescriptorProto):
        return
    for field in definition.field:
        if field.type_name:
            yield field.type_name.removeprefix(".")
    for nested in definition.nested_type:
        yield from _references(nested)


def _outermost(name: str, definitions: Mapping[str, object]) -> str:
    """Return the full name of the top-level definition that is, or contains, the definition of this name."""
    while name not in definitions:
        name = name.rpartition(".")[0]
    return name


def _add_field(message: descriptor_pb2.DescriptorProto, owner: str, name: str, number: int, kind: str) -> None:
    words = kind.split()
    field = message.field.add(name=name, number=number, label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL)
    if words[0] == "repeated":
        field.label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
    if words[0] == "oneof":
        if not message.oneof_decl:
            message.oneof_decl.add(name=words[1])
        field.oneof_index = 0
    kind = words[-1]
    if kind.startswith("map<"):  # a map is a repeated nested message with key and value
        field.label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
        entry = message.nested_type.add(name="".join(part.capitalize() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        key, value = kind.removeprefix("map<").removesuffix(">").split(",")
        _add_field(entry, f"{owner}.{entry.name}", "key", 1, key)
        _add_field(entry, f"{owner}.{entry.name}", "value", 2, value)
        kind = f"{owner}.{entry.name}"
    if kind[0].isupper():
        field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".inference.{kind}"
    else:
        field.type = descriptor_pb2.FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")


if __name__ == "__main__":
    sys.exit(main())
