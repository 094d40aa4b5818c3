"""The JSON Schemas (draft 2020-12) of the documents that router, logs, stream and readers exchange.

    decision, reward    records of the logs
    snapshot            statistics of a bandit
    stream_snapshot     counts of records that belong to no bandit
    latest              the pointer to the newest snapshot
    bandits             the bandits file

JSON Schema cannot express every rule: an id has at most 1,024 bytes of UTF-8, a value has at most 6 decimal places, and
a date must exist in its month. The descriptions in the schemas state these rules, and
transforms.attribution.parsing.lines checks them.
"""

from __future__ import annotations

import importlib.resources
import json
from typing import Any

__all__ = ["load"]

_NAMES = ("bandits", "decision", "latest", "reward", "snapshot", "stream_snapshot")


def load(name: str) -> dict[str, Any]:
    """Return a new copy of a schema.

    Raises:
        ValueError: No schema has this name.
    """
    if name not in _NAMES:
        raise ValueError(f"{name!r} is not a schema; use one of {', '.join(_NAMES)}")
    schema: dict[str, Any] = json.loads(importlib.resources.files(__package__).joinpath(f"{name}.json").read_bytes())
    return schema
