"""Parse the lines of a decision or reward log by the rules of the bandits file.

`records` reads lines by one `max_future`. The bandits of a file may differ in it, and a reward names no bandit, so the
largest one applies to rewards.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from serving_client.contracts.bandits import Attribution
from transforms.attribution.parsing.columns import DecisionColumns, RewardColumns
from transforms.attribution.parsing.reading import Rejected
from transforms.attribution.parsing.records import read_decisions, read_rewards
from transforms.attribution.rules import Label, Rules

__all__ = ["LogLines", "parse_lines", "times_by_row"]


class LogLines(NamedTuple):
    """Parsed lines.

    Args:
        columns: The good records.
        rejected: Malformed and future lines.
        records_read: Number of lines that are not blank.
    """

    columns: DecisionColumns | RewardColumns
    rejected: list[Rejected]
    records_read: int


def parse_lines(source: str, lines: bytes, base: int, rules: Rules, now_us: int) -> LogLines:
    """Parse lines.

    Args:
        source: `decisions` or `rewards`.
        lines: Lines that end in LF. The last one may lack it.
        base: Position of the first line in its file. A byte order mark at position 0 is skipped.
        rules: The rules of the bandits file in force.
        now_us: The clock, microseconds. It replaces a missing received_at.

    Returns:
        The records and the rejected lines.
    """
    if base == 0 and lines.startswith(codecs.BOM_UTF8):
        lines, base = lines.removeprefix(codecs.BOM_UTF8), len(codecs.BOM_UTF8)
    if source == "rewards":
        event_ids = any(bandit.attribution.aggregate == "first" for bandit in rules.bandits.bandits.values())
        return LogLines(*read_rewards(lines, base, now_us, rules.max_future_us, event_ids))
    decisions, rejected, records_read = read_decisions(lines, base, now_us, rules.max_future_us)
    smaller = {bandit.attribution.max_future_us for bandit in rules.bandits.bandits.values()} - {rules.max_future_us}
    for max_future_us in sorted(smaller):  # usually none: all bandits have one max_future
        _, ahead, _ = read_decisions(lines, base, now_us, max_future_us)
        limit_us = times_by_row(decisions, rules, _max_future_us)
        future = {each.position: each for each in ahead if each.outcome == "future"}
        mine = (limit_us == max_future_us) & np.isin(decisions.position, list(future))
        rejected += [future[int(position)] for position in decisions.position[mine]]
        decisions = decisions.select(~mine)
    return LogLines(decisions, rejected, records_read)


def times_by_row(decisions: DecisionColumns, rules: Rules, of: Callable[[Attribution], int]) -> npt.NDArray[np.int64]:
    """Return a time of each decision's bandit, int64 [n]. If the bandit is unknown, it is the largest of all bandits.

    Args:
        decisions: The decisions.
        rules: The rules of the bandits file in force.
        of: Returns the time in microseconds.
    """
    largest_us = max(of(bandit.attribution) for bandit in rules.bandits.bandits.values())

    def of_label(label: Label) -> int:
        bandit = rules.bandit_of(label)
        return largest_us if bandit is None else of(bandit.attribution)

    return np.array([*map(of_label, decisions.labels), 0], np.int64)[decisions.label]


def _max_future_us(attribution: Attribution) -> int:
    return attribution.max_future_us
