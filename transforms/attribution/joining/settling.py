"""Settle decisions: the outcome and the reward of each, from the records that a shard holds.

`kernels.settle` has the rules. This module calls it with the arrays of a shard, and orders events of one time by their
ids, which the compiled code does not see.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from transforms.attribution.joining.kernels import OUTCOMES, in_window, settle
from transforms.attribution.joining.labels import IMPRESSION
from transforms.attribution.joining.open_records import OpenRecords

__all__ = ["Worth", "settle_slots"]

Slots = npt.NDArray[np.int32]


@dataclasses.dataclass(slots=True, eq=False)
class Worth:
    """The contributions of decisions.

    Args:
        slots: The decisions [n].
        counts: Records by label and outcome, int64 [labels, outcomes].
        kinds: Rewards of counted decisions by label and kind, int64 [labels, kinds].
        outcome: Index into OUTCOMES, -1 for a decision behind the cut, int64 [n].
        reward: Aggregated reward in micro-units, int64 [n].
        event_us: Newest event time of the decision and its rewards inside the window, int64 [n].
    """

    slots: Slots
    counts: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int64]
    outcome: npt.NDArray[np.int64]
    reward: npt.NDArray[np.int64]
    event_us: npt.NDArray[np.int64]


def settle_slots(records: OpenRecords, slots: Slots, closing: bool = False) -> Worth:
    """Compute the contribution of decisions and their rewards.

    Args:
        records: The records of a shard.
        slots: The decisions.
        closing: Leave out rewards outside the window, which close by their own time.
    """
    table, n = records.table, len(slots)
    counts = np.zeros((len(table.labels), len(OUTCOMES)), np.int64)
    kinds = np.zeros((len(table.labels), len(table.kinds)), np.int64)
    outcome, reward, event_us = (np.empty(n, np.int64) for _ in range(3))
    ties = np.empty(n, np.bool_)
    settle(
        slots, closing, table.place, table.bandit, table.bandits, table.rewarded, IMPRESSION, records.d, records.r,
        counts, kinds, outcome, reward, event_us, ties,
    )  # fmt: skip
    for at in np.flatnonzero(ties).tolist():
        reward[at] = _first_by_id(records, int(slots[at]))
    return Worth(slots, counts, kinds, outcome, reward, event_us)


def _first_by_id(records: OpenRecords, slot: int) -> int:
    """Return the value of the smallest (occurred_at, event_id) among the rewards that `first` looks at."""
    table, decision = records.table, records.d[slot]
    owner = table.bandit[decision["label"]]
    window, future = table.bandits["window"][owner], table.bandits["future"][owner]
    return min(
        (int(reward["at"]), records.event_ids[row].encode(), int(reward["value"]))
        for row in records.rewards_of(slot)
        if (reward := records.r[row]) is not None
        and in_window(decision["at"], reward["at"], future, window)
        and table.rewarded[owner, reward["kind"]]
    )[2]
