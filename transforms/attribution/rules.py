"""What the bandits file means for the join: the place of a label, and how long the join holds a record.

`joining.kernels.settle` decides which outcome a decision or reward gets. `joining.kernels.in_window` decides whether a
reward lies in the attribution window.

The join holds every record for the largest span of all bandits, because a reward does not name its bandit.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from serving_client.contracts.bandits import Bandit, Bandits

__all__ = ["HOLDBACK", "Label", "Rules"]

HOLDBACK = "*holdback"
"""The segment of the rows in which the decisions of the holdback share count, and nothing else."""


class Label(NamedTuple):
    """Which row a decision belongs to. `segment` is HOLDBACK for a decision of the holdback share."""

    bandit_id: str
    policy_epoch: int
    segment: str
    arm_id: str
    arm_generation: int


@dataclasses.dataclass(slots=True, init=False)
class Rules:
    """A bandits file as the join needs it; microseconds.

    window_us, max_future_us, allowed_lateness_us: the largest of any bandit. span_us: the largest sum of the three.
    reach_us: how far before the cut a record can lie that tells what another at or after the cut is worth: a reward's
    decision a window before it, a conflicting duplicate that won by allowed_lateness at most.
    """

    bandits: Bandits
    window_us: int
    max_future_us: int
    allowed_lateness_us: int
    span_us: int
    reach_us: int

    def __init__(self, bandits: Bandits) -> None:
        all_of = [bandit.attribution for bandit in bandits.bandits.values()]
        self.bandits = bandits
        self.window_us = max(each.window_us for each in all_of)
        self.max_future_us = max(each.max_future_us for each in all_of)
        self.allowed_lateness_us = max(each.allowed_lateness_us for each in all_of)
        self.span_us = max(each.window_us + each.max_future_us + each.allowed_lateness_us for each in all_of)
        self.reach_us = max(self.window_us, self.max_future_us, self.allowed_lateness_us)

    def bandit_of(self, label: Label) -> Bandit | None:
        """Return the bandit that a label names, or None if the file does not have it."""
        return self.bandits.bandits.get(label.bandit_id)

    def place(self, label: Label) -> str:
        """Return the outcome of a decision with this label, or an empty string if the file knows the label."""
        bandit = self.bandits.bandits.get(label.bandit_id)
        if bandit is None:
            return "unknown_bandit"
        if label.policy_epoch != bandit.policy_epoch:
            return "old_epoch" if label.policy_epoch < bandit.policy_epoch else "unknown_epoch"
        arm = bandit.arms.get(label.arm_id)
        if arm is None:
            return "unknown_arm"
        return "unknown_generation" if label.arm_generation > arm.generation else ""
