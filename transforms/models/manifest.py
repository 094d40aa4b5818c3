"""Which files make a version whole: the `_COMPLETE.json` that a publisher writes last, read and checked.

    {"files": [{"name": "saved_model.pb", "size": 8123, "sha256": "9f86..."}, ...]}

Names are relative to the version's folder, parts divided by /.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from transforms.errors import BadInput

__all__ = ["CLAIM_PREFIX", "COMPLETE_FILE", "ModelFile", "is_version", "parse"]

COMPLETE_FILE = "_COMPLETE.json"
CLAIM_PREFIX = "_claim-"
"""Begins the name under which a publisher to an object store takes a number (`publish_bucket`)."""


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """A file of a version. size: bytes; sha256: 64 hex digits, None where the publisher wrote none down."""

    name: str
    size: int
    sha256: str | None


def is_version(name: str) -> bool:
    """Whether a folder's name is a version number to TF Serving: a decimal integer that an int64 holds."""
    return name.isascii() and name.isdecimal() and int(name) < 2**63


def parse(text: bytes, uri: str) -> list[ModelFile]:
    """The files that a _COMPLETE.json lists. Raises BadInput naming `uri` if it is none or lists an unsafe name."""
    try:
        entries = json.loads(text)["files"]
        files = [_file(entry) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{uri}: is no list of name, size and sha256 ({error}); publish the model again") from error
    if len({file.name for file in files}) != len(files):
        raise BadInput(f"{uri}: lists a name twice; publish the model again")
    if "saved_model.pb" not in {file.name for file in files}:
        raise BadInput(f"{uri}: lists no saved_model.pb; publish a SavedModel")
    return files


def _file(entry: dict[str, Any]) -> ModelFile:
    name, size, digest = entry["name"], entry["size"], entry["sha256"]
    # What is listed is written below a folder of this machine: no name may lead out of it.
    if not isinstance(name, str) or {"", ".", ".."} & set(name.split("/")) or "\0" in name:
        raise ValueError(f"name {name!r}")
    if type(size) is not int or size < 0:
        raise ValueError(f"size {size!r} of {name}")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"sha256 {digest!r} of {name}")
    return ModelFile(name, size, digest)
