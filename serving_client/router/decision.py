"""A decision, which a router returns and logs: which arm was drawn, from which probabilities, for which segment."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from serving_client.contracts.bandits import Arm, Bandit
from serving_client.snapshots.follow import Rung

__all__ = ["NO_ELIGIBLE_ARM", "POPULARITY", "Choice", "Decision"]

POPULARITY = "popularity"
"""The value of `served_by` when no arm's model filled the page."""

NO_ELIGIBLE_ARM = "no_eligible_arm"
"""The value of `fallback_reason` when no arm could be drawn."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Probabilities that many decisions share.

    Args:
        bandit: The bandit.
        segment: Segment of the request.
        arms: Arms that can be drawn, in UTF-8 order.
        p: Probability of each arm. They add up to 1.
        cumulative: Sums of the probabilities up to each arm. The last one is at least 1.
        eligible_arms: Active arms that the request allowed, in UTF-8 order. Some may have no probability.
        snapshot_version: Version of the snapshot behind the probabilities. None without a snapshot.
        defaulted: Whether no policy was asked. The decision's rung is `default` then.
        fallback_reason: `no_eligible_arm` if popular items must be shown, else None.
        part: What the decisions' log lines have in common; see `records.decision_part`.
    """

    bandit: Bandit
    segment: str
    arms: tuple[str, ...]
    p: tuple[float, ...]
    cumulative: tuple[float, ...]
    eligible_arms: tuple[str, ...]
    snapshot_version: int | None
    defaulted: bool = False
    fallback_reason: str | None = None
    part: bytes = dataclasses.field(default=b"{}", repr=False)


@dataclasses.dataclass(slots=True, eq=False)
class Decision:
    """One decision. `Router.route` makes it, and `Router.log` logs it once.

    Args:
        decision_id: Id that rewards name.
        choice: Arms and probabilities that the arm was drawn from.
        index: Place of the drawn arm in `choice.arms`.
        rung: How old the statistics were.
        decided_at_us: Time of the decision in microseconds since 1970.
        draw: Number in [0, 1) that chose the arm. None in the holdback, where nothing is drawn.
        user_key: Key of the user. None for an anonymous request.
        holdback: Whether the user belongs to the holdback.
        context: Declared keys of the request's context.
        features: Vector of the drawn arm, float64 [width]. None if the bandit has no features.
        logged: Whether the decision was logged.
    """

    decision_id: str
    choice: Choice
    index: int
    rung: Rung
    decided_at_us: int
    draw: float | None
    user_key: str | None = None
    holdback: bool = False
    context: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    features: npt.NDArray[np.float64] | None = None
    logged: bool = False

    @property
    def bandit_id(self) -> str:
        """Name of the bandit."""
        return self.choice.bandit.bandit_id

    @property
    def segment(self) -> str:
        """Segment of the request."""
        return self.choice.segment

    @property
    def arm_id(self) -> str:
        """Name of the drawn arm."""
        return self.choice.arms[self.index]

    @property
    def arm(self) -> Arm:
        """The drawn arm, with its model and version label."""
        return self.choice.bandit.arms[self.arm_id]

    @property
    def propensity(self) -> float:
        """Probability of the drawn arm."""
        return self.choice.p[self.index]

    @property
    def propensities(self) -> dict[str, float]:
        """Probability of each arm that could be drawn."""
        return dict(zip(self.choice.arms, self.choice.p, strict=True))

    @property
    def fallback_reason(self) -> str | None:
        """`no_eligible_arm` if popular items must be shown, else None."""
        return self.choice.fallback_reason

    @property
    def served_by(self) -> str:
        """What must be shown: the drawn arm, or `popularity` if no arm was eligible."""
        return self.arm_id if self.choice.fallback_reason is None else POPULARITY
