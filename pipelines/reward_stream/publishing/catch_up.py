"""Decide whether a snapshot may follow the one that an earlier run published.

A restarted stream reads on from its checkpoint, or from the beginning. Until its watermark reaches that of the last
snapshot, its totals lack events that the last snapshot counts. Nothing is published until then, heartbeats included.

The watermark alone does not prove that everything has been read again: a decision that was behind the watermark may
come later in its file. So no row may have fewer decisions than before, as long as the gap closes and for a while after.
The wait is limited because conflicting duplicates and pruning do lower n.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.reward_stream.publishing.snapshot import Content
from serving_client.contracts.times import BEFORE_ALL_US, parse_time
from serving_client.snapshots.published import Published

__all__ = ["Former", "former_of", "may_end", "missing"]


@dataclasses.dataclass(frozen=True, slots=True)
class Former:
    """Hold the fields of the last snapshot that the next one depends on.

    `counts` is n by (segment, arm, generation).
    """

    watermark_us: int
    policy_epoch: int | None
    counts: Mapping[tuple[str, str, int], int]
    rolled_back: Sequence[Mapping[str, Any]]


def former_of(published: Published | None) -> Former | None:
    """Parse the snapshot that LATEST names.

    Args:
        published: The snapshot.

    Returns:
        The fields of the snapshot. None if nothing was published.
    """
    if published is None:
        return None
    document = json.loads(published.data)
    watermark = document["watermark"]
    return Former(
        watermark_us=BEFORE_ALL_US if watermark is None else parse_time(watermark),
        policy_epoch=document.get("policy_epoch"),
        counts={_key(row): row["n"] for row in document.get("arms", ())},
        rolled_back=document.get("rolled_back", ()),
    )


def missing(former: Former, content: Content) -> int:
    """Count the decisions by which rows are below the last snapshot. Return 0 if a new epoch starts empty."""
    if content.policy_epoch != former.policy_epoch:
        return 0
    counts = {_key(row): row["n"] for row in content.rows}
    return sum(max(0, n - counts.get(key, 0)) for key, n in former.counts.items())


def may_end(former: Former, content: Content, newest_us: int) -> bool:
    """Return whether a final snapshot may follow the last one.

    A run over the wrong files must not replace what routers have learned.

    Args:
        former: The last snapshot.
        content: The final snapshot.
        newest_us: The largest event time read, microseconds.

    Returns:
        True if the run has read events up to the last snapshot's watermark, or if a new epoch begins.
    """
    return content.policy_epoch != former.policy_epoch or max(content.watermark_us, newest_us) >= former.watermark_us


def _key(row: Mapping[str, Any]) -> tuple[str, str, int]:
    return row["segment"], row["arm_id"], row["arm_generation"]
