"""What a router counts, for metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from serving_client.snapshots.follow import Followed

__all__ = ["RouterCounts"]


@dataclasses.dataclass(frozen=True, slots=True)
class RouterCounts:
    """Counts of one process since it began.

    Args:
        decisions: Decisions by bandit, drawn arm and rung.
        fallbacks: Logged decisions that did not show the drawn arm, by bandit, drawn arm and reason.
        computed: Requests that had to compute probabilities, by bandit. All others found them ready.
        faults: Faults by bandit and reason; see `Faults` and `SnapshotFollower`.
        rejected: Rewards that were rejected, by reason: `forged` or `invalid`.
        lost: Lines that a log lost, by kind and reason; see `LogFiles`.
        followed: How old the snapshot of each bandit is.
    """

    decisions: Mapping[tuple[str, str, str], int]
    fallbacks: Mapping[tuple[str, str, str], int]
    computed: Mapping[str, int]
    faults: Mapping[tuple[str, str], int]
    rejected: Mapping[str, int]
    lost: Mapping[tuple[str, str], int]
    followed: Sequence[Followed]
