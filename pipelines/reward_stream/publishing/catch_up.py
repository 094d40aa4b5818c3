"""May a snapshot follow the one that a former run published?

A restarted stream climbs up again from its checkpoint, or from nothing. Until its watermark has reached that of the
last snapshot it knows less than that one said; so nothing is published, heartbeats included. The watermark alone does
not prove that everything has been read again (a decision that came behind the watermark may lie further on in its
file), so no row may have fewer decisions either, as long as the gap closes and for a while after: conflicting
duplicates and pruning do lower n.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.reward_stream.destinations.interface import Destination
from pipelines.reward_stream.publishing.snapshot import Content
from serving_client.contracts.times import BEFORE_ALL_US, parse_time

__all__ = ["Former", "may_end", "missing", "read_former"]


@dataclasses.dataclass(frozen=True, slots=True)
class Former:
    """What the next snapshot of a bandit depends on in the last one. counts: n by (segment, arm, generation)."""

    watermark_us: int
    policy_epoch: int | None
    counts: Mapping[tuple[str, str, int], int]
    rolled_back: Sequence[Mapping[str, Any]]


def read_former(destination: Destination, bandit_id: str) -> Former | None:
    """The snapshot that LATEST names, None where there is none."""
    published = destination.latest(bandit_id)
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
    """How many decisions rows have less than in the last snapshot; 0 where a new epoch starts empty."""
    if content.policy_epoch != former.policy_epoch:
        return 0
    counts = {_key(row): row["n"] for row in content.rows}
    return sum(max(0, n - counts.get(key, 0)) for key, n in former.counts.items())


def may_end(former: Former, content: Content, newest_us: int) -> bool:
    """Whether a final snapshot is a later one: it has seen events up to the last one's watermark, or learns anew.

    newest_us: the largest event time read. A run over the wrong files must not take back what routers have learned.
    """
    return content.policy_epoch != former.policy_epoch or max(content.watermark_us, newest_us) >= former.watermark_us


def _key(row: Mapping[str, Any]) -> tuple[str, str, int]:
    return row["segment"], row["arm_id"], row["arm_generation"]
