"""The result that a shard sends to the publisher at a tick: changes of rows and counters, and absolute maxima."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from transforms.attribution.rules import Label
from transforms.attribution.statistics.rows import RowSums
from transforms.dead_letters import DeadLetter

__all__ = ["Delta", "FoldResult"]


@dataclasses.dataclass(slots=True)
class Delta:
    """Changes to add.

    Args:
        counters: Changes by (bandit, policy_epoch, outcome). They may be negative. "" stands for no bandit.
        rows: Changes by the decision's own label. The segment `*` is not among them; the receiver adds to it, too.
    """

    counters: Mapping[tuple[str, int, str], int] = dataclasses.field(default_factory=dict)
    rows: Mapping[Label, RowSums] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class FoldResult:
    """A shard's answer to a tick.

    Args:
        shard: Number of the shard.
        seq: Number of the tick's block.
        live: Changes since the last answer: decisions that matured or were corrected.
        closed: Changes by records that went behind the checkpoint's cut.
        pending: Decisions whose window is open, by label (absolute).
        max_event_us: Largest event time by label (absolute).
        max_decided_us: Largest decided_at by label (absolute).
        closed_max_event_us: Largest event time of closed records, for the checkpoint.
        closed_max_decided_us: Largest decided_at of closed records, for the checkpoint.
        dead_letters: Dead letters since the last answer.
        final: All decisions matured, although windows were open.
        stop: The run ends after this answer.
        open_decisions: Decisions that the shard holds.
        open_rewards: Rewards that the shard holds.
    """

    shard: int
    seq: int
    live: Delta
    closed: Delta
    pending: Mapping[Label, int]
    max_event_us: Mapping[Label, int]
    max_decided_us: Mapping[Label, int]
    closed_max_event_us: Mapping[Label, int]
    closed_max_decided_us: Mapping[Label, int]
    dead_letters: tuple[DeadLetter, ...] = ()
    final: bool = False
    stop: bool = False
    open_decisions: int = 0
    open_rewards: int = 0
