"""Find the versions of a model in its base path, and choose those that its policy serves.

Folder names are read as in file_system_storage_path_source.cc. A name that is not an int64 is skipped (`tmp-123`). A
file whose name is a number is a version that fails to load.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

import grpc

from local_serving.config import Policy
from local_serving.errors import Status

__all__ = ["chosen", "found"]

_NUMBER = re.compile(r"[+-]?[0-9]+")
_INT64 = range(-(2**63), 2**63)
_log = logging.getLogger(__name__)


def found(model: str, base_path: str | os.PathLike[str]) -> dict[int, Path]:
    """Return the folder of each version in a base path.

    If two names are the same number (`7`, `007`), the last one in byte order is used, with a warning.

    Raises:
        Status: The base path cannot be read.
    """
    try:
        children = sorted(os.listdir(base_path), key=os.fsencode)
    except (OSError, ValueError) as error:  # ValueError: the path is not valid, for example it contains NUL
        reason = getattr(error, "strerror", None) or error
        raise Status(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"Could not find base path {os.fspath(base_path)} for servable {model} with error {reason}",
        ) from error
    versions: dict[int, Path] = {}
    for child in children:
        text = child.strip(" \t\n\v\f\r")
        if not _NUMBER.fullmatch(text) or int(text) not in _INT64:
            continue
        version = int(text)
        if version in versions:
            _log.warning(
                "Duplicate version directories detected. Version %d will be loaded from %s, %s will be ignored.",
                version, child, versions[version].name,
            )  # fmt: skip
        versions[version] = Path(base_path) / child
    return versions


def chosen(model: str, versions: Mapping[int, Path], policy: Policy) -> dict[int, Path]:
    """Return the versions that the policy serves, highest first. Warn if a listed version does not exist."""
    if policy.specific is not None:
        for version in sorted(policy.specific - versions.keys()):
            _log.warning(
                "Version %d of servable %s, which was requested to be served as a 'specific' version in the servable's"
                " version policy, was not found in the file system", version, model,
            )  # fmt: skip
        wanted = set(policy.specific)
    elif policy.latest is not None:
        wanted = set(sorted(versions, reverse=True)[: policy.latest])
    else:
        wanted = set(versions)
    return {version: versions[version] for version in sorted(versions, reverse=True) if version in wanted}
