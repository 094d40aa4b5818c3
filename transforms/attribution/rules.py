"""By which rules a record counts: its label's place in the bandits file, and the spans for which records are held.

The join holds every record for one span, the largest of all bandits, so that a reward, which names no bandit, meets
its decision whichever bandit's it is.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from serving_client.contracts.bandits import Bandit, Bandits

__all__ = ["Label", "Rules"]


class Label(NamedTuple):
    """Which row a decision belongs to."""

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
        """The bandit that a label names, None where the file has none of the name."""
        return self.bandits.bandits.get(label.bandit_id)

    def place(self, label: Label) -> str:
        """ "" where the file knows the label; otherwise the outcome of a decision with it."""
        bandit = self.bandits.bandits.get(label.bandit_id)
        if bandit is None:
            return "unknown_bandit"
        if label.policy_epoch != bandit.policy_epoch:
            return "old_epoch" if label.policy_epoch < bandit.policy_epoch else "unknown_epoch"
        arm = bandit.arms.get(label.arm_id)
        if arm is None:
            return "unknown_arm"
        return "unknown_generation" if label.arm_generation > arm.generation else ""
