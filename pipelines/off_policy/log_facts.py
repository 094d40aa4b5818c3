"""What the whole log says before any decision can be weighed: rewards by arm and segment, and when an arm was there.

An arm that is not among the eligible arms of a decision was either left out by the request, and then no policy could
have shown it, or did not exist yet. The log tells: before the first decision that had the arm, and after the last one,
it did not exist. Nor did its current generation before the last draw of another generation. A decision that
names neither chances nor eligible arms is believed to have had every arm that the log draws at all.

Facts of blocks merge in any order, to the bit.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
import orjson
import pyarrow as pa

__all__ = ["FOLDS", "LEAST_PROPENSITY", "ArmSpan", "LogFacts", "drawable", "facts_of", "fold_of"]

FOLDS = 5
"""Parts of the log. The reward model that judges a decision is fitted on the other parts."""

LEAST_PROPENSITY = 1e-9
"""A smaller logged probability counts as 0. Computed probabilities have this accuracy, and their weights overflow."""

_MICRO = 1_000_000
_NEVER = -(2**62)


def fold_of(unit: np.ndarray[tuple[int, ...], np.dtype[np.uint64]]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return the fold of each unit, int64 [n]."""
    return (unit % np.uint64(FOLDS)).astype(np.int64)


@dataclasses.dataclass(slots=True)
class ArmSpan:
    """When an arm's current generation was there.

    Args:
        first_us: First decision that drew the arm or had it among its eligible arms.
        last_us: Last such decision.
        other_us: Last decision that drew another generation.
    """

    first_us: int = -_NEVER
    last_us: int = _NEVER
    other_us: int = _NEVER

    def merge(self, other: ArmSpan) -> None:
        """Take in the span that another block saw."""
        self.first_us = min(self.first_us, other.first_us)
        self.last_us = max(self.last_us, other.last_us)
        self.other_us = max(self.other_us, other.other_us)

    def holds(self, at_us: int) -> bool:
        """Return whether the arm was there at a time."""
        return self.may_hold(at_us) and self.first_us <= at_us <= self.last_us

    def may_hold(self, at_us: int) -> bool:
        """Return whether the arm may have been there at a time, for decisions that name neither chances nor arms."""
        return self.first_us <= self.last_us and at_us > self.other_us


@dataclasses.dataclass(slots=True)
class LogFacts:
    """Facts about decisions.

    Args:
        decisions: Number of decisions.
        least_reward: Smallest reward.
        most_reward: Largest reward.
        spans: When each arm was there.
        cells: Decisions and sum of rewards in micro-units, by (fold, segment, arm).
    """

    decisions: int = 0
    least_reward: float = float("inf")
    most_reward: float = float("-inf")
    spans: dict[str, ArmSpan] = dataclasses.field(default_factory=dict)
    cells: dict[tuple[int, str, str], tuple[int, int]] = dataclasses.field(default_factory=dict)

    def merge(self, other: LogFacts) -> None:
        """Add the facts of another block."""
        self.decisions += other.decisions
        self.least_reward = min(self.least_reward, other.least_reward)
        self.most_reward = max(self.most_reward, other.most_reward)
        for arm_id, span in other.spans.items():
            self.spans.setdefault(arm_id, ArmSpan()).merge(span)
        for key, (n, micro) in other.cells.items():
            mine = self.cells.get(key, (0, 0))
            self.cells[key] = (mine[0] + n, mine[1] + micro)


@functools.lru_cache(maxsize=1 << 14)
def drawable(support: str) -> tuple[frozenset[str], frozenset[str], Mapping[str, float]]:
    """Read a decision's `support`.

    Returns:
        The eligible arms, those of them that the log could draw, and the probabilities. They are empty if only the
        eligible arms were logged. Then all of these could be drawn.
    """
    eligible, p = orjson.loads(support)
    if p is None:
        return frozenset(eligible), frozenset(eligible), {}
    could = frozenset(arm_id for arm_id, each in p.items() if each >= LEAST_PROPENSITY)
    return frozenset(eligible or ()) | p.keys(), could, p


def facts_of(decisions: pa.RecordBatch, generations: Mapping[str, int]) -> LogFacts:
    """Collect the facts of a block of selected decisions.

    Args:
        decisions: The decisions, see `selection.Selected`.
        generations: The generation of each arm that the target policy would show.
    """
    facts = LogFacts(decisions=len(decisions))
    if not len(decisions):
        return facts
    reward = decisions["reward"].to_numpy()
    facts.least_reward, facts.most_reward = float(reward.min()), float(reward.max())
    at_us = decisions["decided_at_us"].to_numpy()
    arms = decisions["arm_id"].dictionary.to_pylist()
    arm = decisions["arm_id"].indices.to_numpy()
    wanted = np.array([generations.get(arm_id, _NEVER) for arm_id in arms], np.int64)[arm]
    other = (decisions["arm_generation"].to_numpy() != wanted) & (wanted != _NEVER)
    for code, arm_id in enumerate(arms):
        _see(facts, arm_id, at_us[(arm == code) & ~other])
        if (theirs := at_us[(arm == code) & other]).size:
            facts.spans.setdefault(arm_id, ArmSpan()).other_us = int(theirs.max())
    supports = decisions["support"].dictionary_encode()
    support = supports.indices.fill_null(-1).to_numpy()
    for code, text in enumerate(supports.dictionary.to_pylist()):
        those = at_us[support == code]
        for arm_id in drawable(text)[0]:
            _see(facts, arm_id, those)
    segments = decisions["segment"].dictionary.to_pylist()
    segment = decisions["segment"].indices.to_numpy()
    fold = fold_of(decisions["unit"].to_numpy())
    cell = ((fold * len(segments) + segment) * len(arms) + arm)[~other]
    micro = np.rint(reward * _MICRO).astype(np.int64)[~other]
    for code in np.unique(cell).tolist():
        rest, arm_code = divmod(code, len(arms))
        fold_code, segment_code = divmod(rest, len(segments))
        key = (fold_code, segments[segment_code], arms[arm_code])
        facts.cells[key] = (int(np.count_nonzero(cell == code)), int(micro[cell == code].sum()))
    return facts


def _see(facts: LogFacts, arm_id: str, at_us: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> None:
    if at_us.size:
        facts.spans.setdefault(arm_id, ArmSpan()).merge(ArmSpan(int(at_us.min()), int(at_us.max())))
