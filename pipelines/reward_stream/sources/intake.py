"""Sort the records of a chunk: good records go to the join, the others are malformed, future or late.

A decision is tested with the times of its bandit. If the bandit is unknown, the largest times of all bandits apply. A
reward names no bandit, so the largest times apply to rewards.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.reward_stream.sources.coverage import Key, Late
from serving_client.contracts.bandits import Attribution
from serving_client.contracts.times import BEFORE_ALL_US
from transforms.attribution.block import MARKER, Block
from transforms.attribution.parsing.columns import DecisionColumns, RewardColumns, to_blocks
from transforms.attribution.parsing.log_lines import parse_lines, times_by_row
from transforms.attribution.rules import Rules
from transforms.dead_letters import DeadLetter

__all__ = ["Intake", "read_lines"]

_NOBODY = ("", 0)
Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(slots=True)
class Intake:
    """Hold the lines of one chunk of a source with their outcomes.

    Args:
        name: Name of the file.
        columns: The good records, without the late ones that were taken out.
        records_read: Number of lines that are not blank.
        counts: Malformed and future records.
        letters: Dead letters of all records that are dropped.
        late: Late records that were taken out.
    """

    name: str
    columns: DecisionColumns | RewardColumns
    records_read: int
    counts: Counter[Key]
    letters: list[DeadLetter]
    late: list[Late] = dataclasses.field(default_factory=list)

    @property
    def newest_us(self) -> int:
        """Return the greatest event time of the good records, BEFORE_ALL_US if there are none."""
        return int(self.columns.at_us.max(initial=BEFORE_ALL_US))

    def names_unknown(self, rules: Rules) -> bool:
        """Return whether a decision names a bandit, arm or epoch that the bandits file does not contain (yet)."""
        return isinstance(self.columns, DecisionColumns) and bool(_unknown(self.columns, rules).any())

    def sort_out_late(self, rules: Rules, holding_us: int, cut_us: int) -> None:
        """Take out records that are too late for the holding watermark or lie before a checkpoint's cut.

        Args:
            rules: The rules of the bandits file in force.
            holding_us: The holding watermark, microseconds.
            cut_us: The checkpoint's cut, microseconds.
        """
        if not len(self.columns):
            return
        grace_us: npt.NDArray[np.int64] | int = rules.allowed_lateness_us
        if isinstance(self.columns, DecisionColumns):
            grace_us = times_by_row(self.columns, rules, _decision_grace_us)
        late = (self.columns.at_us + grace_us < holding_us) | (self.columns.at_us < cut_us)
        self._take_out(late, BEFORE_ALL_US)

    def recall(self, late_at: Sequence[int], cut_us: int) -> None:
        """Apply the outcomes of the first reading to a chunk that is read again after a restart.

        Records that were late are late again. Records before the cut become markers that count nothing, since the
        checkpoint's counters hold the late ones among them.

        Args:
            late_at: Positions of the records that were late.
            cut_us: The checkpoint's cut, microseconds.
        """
        self._take_out(np.isin(self.columns.position, late_at), cut_us)
        self.columns.flags |= np.where(self.columns.at_us < cut_us, MARKER, 0).astype(np.uint8)

    def to_blocks(self, shards: int, rules: Rules) -> list[Block]:
        """Return the good records as one block per shard. The caller numbers the blocks.

        Args:
            shards: Number of shards.
            rules: The rules of the bandits file in force.

        Returns:
            One block per shard.
        """
        if isinstance(self.columns, DecisionColumns):
            return to_blocks(self.columns, None, shards, self.name, _unknown(self.columns, rules))
        return to_blocks(None, self.columns, shards, self.name)

    def _take_out(self, late: Mask, counted_before_us: int) -> None:
        columns = self.columns
        for row in np.flatnonzero(late).tolist():
            position, at_us = int(columns.position[row]), int(columns.at_us[row])
            key: Key | None = None
            if at_us >= counted_before_us:
                key = (*_owner(columns, row), "late")
                self.letters.append(DeadLetter(self.name, position, "late", columns.original(row)))
            self.late.append(Late(position, at_us, key))
        if self.late:
            self.columns = columns.select(~late)


def read_lines(source: str, name: str, lines: bytes, base: int, rules: Rules, now_us: int) -> Intake:
    """Parse lines of a source.

    Args:
        source: `decisions` or `rewards`.
        name: Name of the file, for dead letters.
        lines: The lines.
        base: Position of the first line in the file. A byte order mark at position 0 is skipped.
        rules: The rules of the bandits file in force.
        now_us: The clock, microseconds. It replaces a missing received_at.

    Returns:
        The records with their outcomes. Late ones are not taken out yet.
    """
    columns, rejected, records = parse_lines(source, lines, base, rules, now_us)
    counts: Counter[Key] = Counter()
    letters = []
    for each in rejected:
        counts[(*each.owner, each.outcome)] += 1
        letters.append(DeadLetter(name, each.position, f"{each.outcome}: {each.reason}", each.original))
    return Intake(name, columns, records, counts, letters)


def _owner(columns: DecisionColumns | RewardColumns, row: int) -> tuple[str, int]:
    if isinstance(columns, RewardColumns):
        return _NOBODY
    label = columns.labels[columns.label[row]]
    return label.bandit_id, label.policy_epoch


def _unknown(decisions: DecisionColumns, rules: Rules) -> Mask:
    unknown = [rules.place(label).startswith("unknown") for label in decisions.labels]
    return np.array([*unknown, False], np.bool_)[decisions.label]


def _decision_grace_us(attribution: Attribution) -> int:
    return attribution.window_us + attribution.allowed_lateness_us
