"""The JSON Schemas (draft 2020-12) of the documents that router, logs, stream and readers exchange.

`decision` and `reward` are the records of the logs, `snapshot` is a bandit's statistics, `stream_snapshot` counts what
belongs to no bandit, `latest` is the pointer beside either, `bandits` the bandits file. JSON Schema cannot say all of
the contract: that an id has at most 1,024 bytes of UTF-8, a value at most 6 decimal places and a date exists in its
month, stands in the descriptions, and transforms.attribution.parsing.lines checks it.
"""

from __future__ import annotations

import importlib.resources
import json
from typing import Any

__all__ = ["load"]

_NAMES = ("bandits", "decision", "latest", "reward", "snapshot", "stream_snapshot")


def load(name: str) -> dict[str, Any]:
    """Read a schema; the caller may change it.

    Raises:
        ValueError: No schema has this name.
    """
    if name not in _NAMES:
        raise ValueError(f"no schema is named {name!r}; there are {', '.join(_NAMES)}")
    schema: dict[str, Any] = json.loads(importlib.resources.files(__package__).joinpath(f"{name}.json").read_bytes())
    return schema
