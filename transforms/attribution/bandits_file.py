"""Read a bandits file from a disk or a bucket, for pipelines. `serving_client.bandits_file` has the rules."""

from __future__ import annotations

from apache_beam.io.filesystem import BeamIOError

from serving_client.bandits_file import parse_bytes
from serving_client.contracts.bandits import Bandits, BanditsError
from transforms.errors import BadInput
from transforms.files import storage

__all__ = ["read"]


def read(path: str) -> tuple[bytes, Bandits]:
    """Read a bandits file and return its bytes and its content.

    Raises:
        BadInput: The file cannot be read or is invalid.
    """
    try:
        with storage.open_read(path) as file:
            data = file.read()
    except FileNotFoundError as error:
        raise BadInput(f"--bandits={path}: the file does not exist; correct the path") from error
    except (BeamIOError, OSError) as error:
        raise BadInput(f"--bandits={path}: cannot be read ({error}); check the path and its permissions") from error
    try:
        return data, parse_bytes(data, path)
    except BanditsError as error:
        raise BadInput(str(error)) from error
