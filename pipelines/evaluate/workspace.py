"""Store values that are too large for the Beam graph between the two graphs of a run, as pickles in one folder.

The folder lies under the run's output, so every worker of a remote runner can read it and no other run writes to it.
"""

from __future__ import annotations

import pickle
from typing import Any

from transforms.files import storage

__all__ = ["get", "put"]


def put(value: Any, folder: str, name: str) -> str:
    """Store a value and return its name."""
    with storage.write_whole(f"{folder}/{name}.pickle") as file:
        pickle.dump(value, file, protocol=5)
    return name


def get(folder: str, name: str) -> Any:
    """Load the value stored under a name."""
    with storage.open_read(f"{folder}/{name}.pickle") as file:
        return pickle.load(file)
