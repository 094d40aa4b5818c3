"""Where values too large for the Beam graph wait between the two graphs of a run: pickles in one folder.

The folder is the run's own, under its output, so every worker of a remote runner sees it, and nobody else writes there.
"""

from __future__ import annotations

import pickle
from typing import Any

from transforms.files import storage

__all__ = ["get", "put"]


def put(value: Any, folder: str, name: str) -> str:
    """Store a value; returns its name."""
    with storage.write_whole(f"{folder}/{name}.pickle") as file:
        pickle.dump(value, file, protocol=5)
    return name


def get(folder: str, name: str) -> Any:
    """The value stored under that name."""
    with storage.open_read(f"{folder}/{name}.pickle") as file:
        return pickle.load(file)
