"""Build a snapshot: one bandit's rows and counters at a watermark, as canonical JSON.

All fields but `version`, `published_at`, `watermark` and `event_time_lag` depend only on the records that have matured.
So a stream and a batch run over the same files otherwise publish the same bytes. The one exception is a guardrail that
tripped before late corrections, which stays tripped.

`event_time_lag` is published_at minus watermark in seconds. It is the age of the statistics when they were published. A
reader adds the age of the snapshot to get their age now. Before any event has been read there is no watermark, and both
fields are null.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.reward_stream.totals.counters import STREAM, counters_document
from pipelines.reward_stream.totals.guardrails import tripped
from pipelines.reward_stream.totals.ledger import Ledger
from serving_client.contracts.bandits import Bandit, Bandits, config_hash
from serving_client.contracts.canonical import canonical_json
from serving_client.contracts.times import BEFORE_ALL_US, format_time
from transforms.attribution.statistics.rows import row_document

__all__ = ["Content", "bandit_content", "document", "stream_content"]

_SCHEMA_VERSION = 1

# A watermark is the largest event time less --max_disorder; less than this, no event has been read.
_NO_EVENT_US = BEFORE_ALL_US // 2


@dataclasses.dataclass(frozen=True, slots=True)
class Content:
    """Hold a snapshot without its version and time of publishing. policy_epoch and config_hash are None for STREAM.

    `heard_us` is the clock when each source last delivered. It is empty but for STREAM.
    """

    bandit_id: str
    policy_epoch: int | None
    config_hash: str | None
    watermark_us: int
    final: bool
    counters: Mapping[str, int]
    rows: Sequence[Mapping[str, Any]] = ()
    rolled_back: Sequence[Mapping[str, Any]] = ()
    heard_us: Mapping[str, int] = dataclasses.field(default_factory=dict)


def bandit_content(
    bandit: Bandit, ledger: Ledger, watermark_us: int, *, final: bool, rolled_back: Sequence[Mapping[str, Any]]
) -> Content:
    """Build a bandit's snapshot.

    Args:
        bandit: The bandit.
        ledger: The totals to publish.
        watermark_us: The watermark, microseconds.
        final: Whether the run ends with this snapshot.
        rolled_back: Rolled-back arms in the last snapshot. They stay while the arm's generation does.

    Returns:
        The content.
    """
    newest_us = ledger.newest_decided_us(bandit)
    if final:
        watermark_us = _final_us(bandit, newest_us, watermark_us)
    rows = [
        row_document(
            row.label,
            row.sums,
            row.pending,
            row.max_event_us,
            newest_us,
            bandit,
        )
        for row in ledger.rows(bandit)
    ]
    return Content(
        bandit.bandit_id,
        bandit.policy_epoch,
        config_hash(bandit),
        watermark_us,
        final,
        ledger.counters(bandit.bandit_id),
        rows,
        _rolled_back(bandit, rows, rolled_back, watermark_us),
    )


def stream_content(
    bandits: Bandits, ledger: Ledger, watermark_us: int, *, final: bool, heard_us: Mapping[str, int]
) -> Content:
    """Build the snapshot of the counters that belong to no bandit.

    Args:
        bandits: The bandits file.
        ledger: The totals to publish.
        watermark_us: The watermark, microseconds.
        final: Whether the run ends with this snapshot. A final snapshot does not depend on the clock.
        heard_us: Clock per source when it last delivered, microseconds.

    Returns:
        The content.
    """
    if final:
        heard_us = {}
        for bandit in bandits.bandits.values():
            watermark_us = _final_us(bandit, ledger.newest_decided_us(bandit), watermark_us)
    return Content(STREAM, None, None, watermark_us, final, ledger.counters(STREAM), heard_us=heard_us)


def document(content: Content, version: int, published_at_us: int) -> bytes:
    """Encode a snapshot.

    Args:
        content: The content.
        version: Number of the version.
        published_at_us: Time of publishing, microseconds since 1970.

    Returns:
        The bytes to publish.
    """
    known = content.watermark_us > _NO_EVENT_US
    fields: dict[str, Any] = {
        "schema_version": _SCHEMA_VERSION,
        "bandit_id": content.bandit_id,
        "version": version,
        "published_at": format_time(published_at_us),
        "watermark": format_time(content.watermark_us) if known else None,
        "event_time_lag": (published_at_us - content.watermark_us) / 1e6 if known else None,
        "final": content.final,
        "counters": counters_document(content.counters),
    }
    if content.policy_epoch is not None:
        fields |= {
            "policy_epoch": content.policy_epoch,
            "config_hash": content.config_hash,
            "arms": content.rows,
            "rolled_back": content.rolled_back,
        }
    if content.heard_us:
        fields["delivered_at"] = {source: format_time(at_us) for source, at_us in content.heard_us.items()}
    return canonical_json(fields)


def _final_us(bandit: Bandit, newest_decided_us: int | None, watermark_us: int) -> int:
    """Return the watermark of a final snapshot, at which every window is over."""
    if newest_decided_us is None:
        return watermark_us
    return max(watermark_us, newest_decided_us + bandit.attribution.window_us)


def _rolled_back(
    bandit: Bandit, rows: Sequence[Mapping[str, Any]], former: Sequence[Mapping[str, Any]], watermark_us: int
) -> list[Mapping[str, Any]]:
    """Return the arms that a guardrail stopped, by arm: earlier ones in their present generation, and new ones."""
    present = {arm.arm_id: arm.generation for arm in bandit.arms.values()}
    kept = {entry["arm"]: entry for entry in former if present.get(entry["arm"]) == entry["generation"]}
    at_us = max(watermark_us, 0)  # a watermark before any event has no date
    for entry in tripped(bandit, rows):
        kept.setdefault(entry["arm"], {"at": format_time(at_us), **entry})
    return [kept[arm_id] for arm_id in sorted(kept)]
