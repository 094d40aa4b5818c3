"""What a shard tells the publisher at a tick: by how much rows and counters changed, and where it stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from transforms.attribution.rules import Label
from transforms.attribution.statistics.rows import RowSums
from transforms.dead_letters import DeadLetter

__all__ = ["Delta", "FoldResult"]


@dataclasses.dataclass(slots=True)
class Delta:
    """Changes to add. counters: by (bandit, policy_epoch, outcome), which may be negative; "" is no bandit.

    rows: by the decision's own label; `*` is not among them, whoever adds them adds to it, too.
    """

    counters: Mapping[tuple[str, int, str], int] = dataclasses.field(default_factory=dict)
    rows: Mapping[Label, RowSums] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class FoldResult:
    """A shard's answer to a tick.

    live: what matured or was corrected since the last step. closed: what went behind the checkpoint's cut. pending,
    max_event_us, max_decided_us: absolute, by label; the closed_ ones are those of closed records alone, for the
    checkpoint. final: everything has matured in it, though no window was over. open_decisions, open_rewards: held.
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
