"""Define the outcomes that a snapshot counts, and assign counters to snapshots.

A record has exactly one outcome. Two further counters describe records that already have an outcome. Every counter is
written, even if it is zero, so that a reader needs no default and notices a new outcome.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["OUTCOMES", "SEGMENTS_OVER_LIMIT", "STREAM", "counters_document", "home"]

# The pseudo bandit whose snapshot counts what belongs to no known bandit, and late and future rewards.
STREAM = "_stream"

OUTCOMES = (
    "malformed", "future", "late", "unknown_bandit", "old_epoch", "unknown_epoch", "unknown_arm", "unknown_generation",
    "duplicate", "orphan", "bot", "fallback", "unexposed", "holdback", "outside_window", "ignored_kind",
    "counted",
)  # fmt: skip

# Decisions, fallbacks included, that have no row but `*`, because their segment came after max_segments others.
SEGMENTS_OVER_LIMIT = "segments_over_limit"

# Conflicting duplicates are among the records that ended as `duplicate`.
_BESIDE_OUTCOMES = ("conflicting_duplicates", SEGMENTS_OVER_LIMIT)

# What only a decision of the bandit's own epoch can be, with its rewards. Under another epoch's name it is a correction
# to totals that ended with that epoch.
_OF_OWN_EPOCH = frozenset({"bot", "fallback", "unexposed", "holdback", "ignored_kind", "counted"})


def counters_document(counts: Mapping[str, int]) -> dict[str, int]:
    """Return all counters of a snapshot, zeros and unknown counters included."""
    return {name: counts.get(name, 0) for name in (*OUTCOMES, *_BESIDE_OUTCOMES, *counts)}


def home(bandit_id: str, policy_epoch: int, outcome: str, epochs: Mapping[str, int]) -> str | None:
    """Return the bandit whose snapshot holds a counter.

    A bandit also counts its records of other epochs (as old_epoch, unknown_epoch, late, …), so that the outcomes add up
    to the records read.

    Args:
        bandit_id: Bandit of the records.
        policy_epoch: Policy epoch of the records.
        outcome: Outcome of the records.
        epochs: Current policy epoch of each bandit.

    Returns:
        The bandit. STREAM if the bandit is unknown. None if the counter is dropped.
    """
    if bandit_id not in epochs:
        return STREAM
    if policy_epoch < epochs[bandit_id] and outcome in _OF_OWN_EPOCH:
        return None
    return bandit_id
