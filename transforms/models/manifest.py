"""Write, read and check `_COMPLETE.json`, the list of a version's files that a publisher writes last.

    {"files": [{"name": "saved_model.pb", "size": 8123, "sha256": "9f86..."}, ...]}

Names are relative to the version's folder, with / between parts. Model servers ignore this file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from transforms.errors import BadInput

__all__ = [
    "CLAIM_PREFIX",
    "COMPLETE_FILE",
    "ModelFile",
    "check",
    "dump",
    "hashed",
    "is_beside",
    "is_version",
    "listed",
    "parse",
]

COMPLETE_FILE = "_COMPLETE.json"
CLAIM_PREFIX = "_claim-"
"""Begins the name of the object with which a publisher claims a version number on an object store."""


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """A file of a version.

    Attributes:
        name: Path relative to the version's folder.
        size: Size in bytes.
        sha256: 64 hex digits. None if the publisher wrote no hash.
        modified_ns: Time of the last change in nanoseconds since 1970. None if the publisher wrote a hash.
    """

    name: str
    size: int
    sha256: str | None
    modified_ns: int | None = None


def is_version(name: str) -> bool:
    """Return whether TF Serving takes a folder's name for a version number: a decimal integer that fits an int64."""
    return name.isascii() and name.isdecimal() and int(name) < 2**63


def is_beside(name: str) -> bool:
    """Return whether a file of a version's folder belongs to publishing and not to the model."""
    return name == COMPLETE_FILE or name.startswith(CLAIM_PREFIX)


def listed(folder: Path) -> list[ModelFile]:
    """Return the model's files below a local folder, sorted by name, with sizes and times."""
    found = [(path, path.stat()) for path in _files(folder)]
    return [
        ModelFile(path.relative_to(folder).as_posix(), state.st_size, None, state.st_mtime_ns) for path, state in found
    ]


def hashed(folder: Path) -> list[ModelFile]:
    """Return the model's files below a local folder, sorted by name, with sizes and hashes."""
    files = []
    for path in _files(folder):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            files.append(ModelFile(path.relative_to(folder).as_posix(), file.tell(), digest))
    return files


def dump(files: Iterable[ModelFile]) -> bytes:
    """Return the content of the _COMPLETE.json of these files, which have hashes."""
    entries = [{"name": file.name, "sha256": file.sha256, "size": file.size} for file in files]
    return json.dumps({"files": entries}, indent=1).encode()


def parse(text: bytes, uri: str) -> list[ModelFile]:
    """Return the files that a _COMPLETE.json lists.

    Args:
        text: Content of the file.
        uri: Address of the file, for error messages.

    Raises:
        BadInput: The content is not such a list, lists a name that leads out of the folder, or has no SavedModel.
    """
    try:
        entries = json.loads(text)["files"]
        files = [_file(entry) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{uri}: is not a list of name, size and sha256 ({error}); publish the model again") from error
    if len({file.name for file in files}) != len(files):
        raise BadInput(f"{uri}: lists a name twice; publish the model again")
    check(files, uri)
    return files


def check(files: Iterable[ModelFile], uri: str) -> None:
    """Raise BadInput if the files hold no SavedModel, or an empty one, as a full disk leaves it.

    Args:
        files: Files of a model, with sizes.
        uri: Address of the model or of its list of files, for the error message.
    """
    sizes = {file.name: file.size for file in files}
    if "saved_model.pb" not in sizes:
        raise BadInput(f"{uri}: holds no saved_model.pb; pass the folder DIR/model that a trainer wrote")
    if sizes["saved_model.pb"] == 0:
        raise BadInput(f"{uri}: its saved_model.pb is empty; train the model again, and check the free space")


def _files(folder: Path) -> Iterator[Path]:
    paths = [
        Path(place) / name
        for place, _, names in os.walk(folder, onerror=_fail, followlinks=True)
        for name in names
        if Path(place) != folder or not is_beside(name)
    ]
    return iter(sorted(paths))


def _fail(error: OSError) -> NoReturn:
    """Raise the error of a folder that cannot be listed, which os.walk would ignore."""
    raise error


def _file(entry: dict[str, Any]) -> ModelFile:
    name, size, digest = entry["name"], entry["size"], entry["sha256"]
    # The files are written below a local folder, so no name may lead out of it.
    if not isinstance(name, str) or {"", ".", ".."} & set(name.split("/")) or "\0" in name:
        raise ValueError(f"name {name!r}")
    if type(size) is not int or size < 0:
        raise ValueError(f"size {size!r} of {name}")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"sha256 {digest!r} of {name}")
    return ModelFile(name, size, digest)
