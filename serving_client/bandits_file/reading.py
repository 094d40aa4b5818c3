"""Read a bandits file (YAML) and check it against the schema.

The first mistake ends the reading. Its message is one sentence with the place in the file.
"""

from __future__ import annotations

import functools
import pathlib
from typing import Any

from serving_client.bandits_file.schema_faults import schema_fault
from serving_client.bandits_file.yaml_text import YamlFault, load_yaml
from serving_client.contracts.bandits import Bandits, BanditsError
from serving_client.contracts.bandits_document import bandits_of
from serving_client.contracts.schemas import load
from serving_client.extras import require

__all__ = ["parse_bytes", "read", "read_data"]


def read(path: str) -> Bandits:
    """Read a bandits file on this machine.

    Raises:
        BanditsError: The file cannot be read or is invalid.
    """
    return parse_bytes(read_data(path), path)


def read_data(path: str) -> bytes:
    """Read the bytes of a file on this machine.

    Raises:
        BanditsError: The file cannot be read.
    """
    try:
        return pathlib.Path(path).read_bytes()
    except FileNotFoundError as error:
        raise BanditsError(f"{path}: the file does not exist; correct the path") from error
    except OSError as error:
        raise BanditsError(f"{path}: cannot be read ({error}); check the path and its permissions") from error


@functools.lru_cache(maxsize=16)
def parse_bytes(data: bytes, where: str) -> Bandits:
    """Parse the bytes of a bandits file.

    Equal bytes return the same object, so do not change it.

    Args:
        data: Content of the file.
        where: Name of the file, for messages.

    Raises:
        BanditsError: The content is not YAML, breaks the schema or contradicts itself.
    """
    try:
        document = load_yaml(data)
    except YamlFault as error:
        raise BanditsError(f"{where}{error}") from error
    fault = schema_fault(_validator(), document, below="bandits")
    if fault:
        raise BanditsError(f"{where}: {fault}")
    return bandits_of(document, where)


@functools.cache
def _validator() -> Any:
    return require("jsonschema", "router").Draft202012Validator(load("bandits"))
