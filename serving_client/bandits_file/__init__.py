"""The bandits file: YAML to checked values, and what may change in it while statistics go on."""

from __future__ import annotations

from serving_client.bandits_file.changes import check_change, successor
from serving_client.bandits_file.reading import parse_bytes, read, read_data

__all__ = ["check_change", "parse_bytes", "read", "read_data", "successor"]
