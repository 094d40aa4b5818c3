"""Add blocks of decisions and rewards to rows and counters, in any order (`kernels.settle` decides each outcome).

The contribution of a decision depends on the records with its id. If a further record of a counted decision arrives,
its former contribution is subtracted and the new one is added. The rows therefore depend only on the set of records.
The reader has already removed late records. Times are in microseconds.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serving_client.contracts.times import BEFORE_ALL_US
from transforms.attribution.block import Block
from transforms.attribution.joining.delta import Delta, FoldResult
from transforms.attribution.joining.kernels import (
    CONFLICT,
    CONFLICTING,
    COUNTED,
    COUNTED_OUTCOME,
    DEAD,
    DUPLICATE,
    EXPOSED,
    FALLBACK_OUTCOME,
    HAS,
    MARKER,
    OUTCOMES,
    outcomes_outside,
    scan_decisions,
    scan_rewards,
)
from transforms.attribution.joining.labels import IMPRESSION
from transforms.attribution.joining.open_records import OpenRecords, Original
from transforms.attribution.joining.settling import Worth, settle_slots
from transforms.attribution.rules import HOLDBACK, Label, Rules
from transforms.attribution.statistics.row_sums import Counted, sum_rows
from transforms.attribution.statistics.rows import RowSums
from transforms.dead_letters import DeadLetter

__all__ = ["Shard", "advance", "finish", "fold"]

_Slots = npt.NDArray[np.int32]
_NOBODY = ("", 0)
_OF_HOLDBACK = frozenset({"counted", "outside_window", "ignored_kind"})
"""Outcomes that are `holdback` for a decision of the holdback share and its rewards."""


@dataclasses.dataclass(slots=True)
class _Sums:
    """A delta in the making."""

    counters: Counter[tuple[str, int, str]] = dataclasses.field(default_factory=Counter)
    rows: dict[Label, RowSums] = dataclasses.field(default_factory=dict)

    def to_delta(self) -> Delta:
        return Delta(
            {key: count for key, count in self.counters.items() if count},
            {label: sums for label, sums in self.rows.items() if not sums.is_zero()},
        )


@dataclasses.dataclass(slots=True)
class Shard:
    """One shard of decision ids: its open records, and what changed since the last result."""

    records: OpenRecords
    live: _Sums = dataclasses.field(default_factory=_Sums)
    letters: list[DeadLetter] = dataclasses.field(default_factory=list)
    cut_us: int = BEFORE_ALL_US
    """Where the last result's cut was."""

    @classmethod
    def empty(cls, rules: Rules) -> Shard:
        """Nothing has come yet."""
        return cls(OpenRecords(rules))


def fold(shard: Shard, block: Block, rules: Rules) -> npt.NDArray[np.bool_]:
    """Take a block's records; rows change at the next `advance` or `finish`.

    Returns, by reward, whether a dead letter may need its original if the block is folded again.
    """
    records = shard.records
    if rules is not records.table.rules:
        _follow(shard, rules)
    decisions, rewards = block.decisions, block.rewards
    if not len(block):
        return np.zeros(0, np.bool_)
    slots = records.find(np.concatenate([decisions.hi, rewards.hi]), np.concatenate([decisions.lo, rewards.lo]))
    labels, kinds = records.table.codes(block.labels), records.table.kind_codes(block.kinds)
    records.widen()
    touched = np.unique(slots[(records.d["flags"][slots] & COUNTED) != 0])
    if len(touched):
        _add(shard, shard.live, touched, sign=-1)
    decision_slots, reward_slots = slots[: len(decisions)], slots[len(decisions) :]
    if len(decisions):
        records.put_decisions(block, decision_slots, labels)
    rows, unsure = np.zeros(0, np.int32), np.zeros(0, np.bool_)
    if len(rewards):
        rows, unsure = records.put_rewards(block, reward_slots, kinds)
    if len(touched):
        _add(shard, shard.live, touched)
        _bury_what_follows_unknown(shard, touched, rows, reward_slots)
    _forget_originals(records, decision_slots)
    return unsure


def advance(shard: Shard, holding_us: int, maturing_us: int, rules: Rules) -> FoldResult:
    """Count the decisions whose windows are over, and let go of records behind the cut.

    The cut is the holding watermark less the rules' span. The caller sets shard and seq of the result.
    """
    records = shard.records
    if rules is not records.table.rules:
        _follow(shard, rules)
    cut = shard.cut_us = max(shard.cut_us, holding_us - rules.span_us)
    table, d, r = records.table, records.d, records.r
    mature, closing = np.empty(records.used_d, np.int32), np.empty(records.used_d, np.int32)
    pending = np.zeros(len(table.labels), np.int64)
    matured, closed = scan_decisions(
        records.used_d, maturing_us, cut, table.place, table.bandit, table.bandits, d, mature, closing, pending
    )
    waiting = {table.labels[code]: int(pending[code]) for code in np.flatnonzero(pending).tolist()}
    _mature(shard, mature[:matured])
    gone = _Sums()
    if closed:
        _close(shard, gone, closing[:closed])
    orphans, outside, inside = (np.empty(records.used_r, np.int32) for _ in range(3))
    counts = scan_rewards(records.used_r, cut, table.bandit, table.bandits, d, r, orphans, outside, inside)
    _orphan(shard, gone, orphans[: counts[0]])
    _close_outside(shard, gone, outside[: counts[1]])
    for rows in (orphans[: counts[0]], outside[: counts[1]], inside[: counts[2]]):
        r["flags"][rows] |= DEAD
    for row in (*orphans[: counts[0]].tolist(), *outside[: counts[1]].tolist(), *inside[: counts[2]].tolist()):
        records.raw_rewards.pop(row, None)
        records.event_ids.pop(row, None)
    if closed or any(counts):
        records.let_go(cut)
    return _result(shard, gone, waiting)


def finish(shard: Shard, rules: Rules) -> FoldResult:
    """End the input: every window is over and every reward without a decision is an orphan. Nothing closes."""
    records = shard.records
    if rules is not records.table.rules:
        _follow(shard, rules)
    flags = records.d["flags"][: records.used_d]
    _mature(shard, np.flatnonzero((flags & (HAS | COUNTED | DEAD)) == HAS).astype(np.int32))
    rows = np.flatnonzero((records.r["flags"][: records.used_r] & DEAD) == 0).astype(np.int32)
    _orphan(shard, None, rows[(records.d["flags"][records.r["slot"][rows]] & HAS) == 0])
    return dataclasses.replace(_result(shard, _Sums(), {}), final=True)


def _result(shard: Shard, gone: _Sums, pending: dict[Label, int]) -> FoldResult:
    """Take everything since the last result."""
    records = shard.records
    if records.stale:
        _look_for_maxima(records)
    event_us, decided_us = records.maxima()
    closed_event_us, closed_decided_us = records.closed_maxima()
    flags = records.d["flags"][: records.used_d]
    result = FoldResult(
        shard=-1,
        seq=-1,
        live=shard.live.to_delta(),
        closed=gone.to_delta(),
        pending=pending,
        max_event_us=event_us,
        max_decided_us=decided_us,
        closed_max_event_us=closed_event_us,
        closed_max_decided_us=closed_decided_us,
        dead_letters=tuple(shard.letters),
        open_decisions=int(np.count_nonzero((flags & (HAS | DEAD)) == HAS)),
        open_rewards=int(np.count_nonzero((records.r["flags"][: records.used_r] & DEAD) == 0)),
    )
    shard.live, shard.letters = _Sums(), []
    return result


def _mature(shard: Shard, slots: _Slots) -> None:
    """Decisions that have come to count, or to be known as unknown, enter the live sums."""
    records = shard.records
    if not len(slots):
        return
    _add(shard, shard.live, slots)
    records.d["flags"][slots] |= COUNTED
    unknown = _unknown(records)
    for slot in slots[unknown[records.d["label"][slots]] & ((records.d["flags"][slots] & MARKER) == 0)].tolist():
        reason = _place(records, slot)
        shard.letters += [_letter(original, reason) for original in records.raw_decisions.pop(slot, ())]
        for row in records.rewards_of(slot):
            if row in records.raw_rewards:
                shard.letters.append(_letter(records.raw_rewards.pop(row), reason))


def _close(shard: Shard, gone: _Sums, slots: _Slots) -> None:
    """Decisions behind the cut, with the rewards inside their windows: nothing can change them any more."""
    records = shard.records
    worth = settle_slots(records, slots, closing=True)
    _add_worth(records, gone, worth, sign=1)
    counted = worth.outcome == COUNTED_OUTCOME
    labels = records.d["label"][slots[counted]]
    np.maximum.at(records.closed_event_max, labels, worth.event_us[counted])
    np.maximum.at(records.closed_decided_max, labels, records.d["at"][slots[counted]])
    records.d["flags"][slots] |= MARKER
    records.d["flags"][slots[counted]] |= EXPOSED


def _orphan(shard: Shard, gone: _Sums | None, rows: _Slots) -> None:
    """Rewards that no decision will claim; those before the cut of a restart are counted already."""
    records = shard.records
    fresh = rows[(records.r["flags"][rows] & MARKER) == 0]
    if not len(fresh):
        return
    counts = {
        "orphan": len(fresh),
        OUTCOMES[DUPLICATE]: int(records.r["dups"][fresh].sum()),
        OUTCOMES[CONFLICTING]: int(np.count_nonzero(records.r["flags"][fresh] & CONFLICT)),
    }
    for sums in (shard.live, gone):
        if sums is not None:
            sums.counters.update({(*_NOBODY, outcome): count for outcome, count in counts.items()})
    shard.letters += [
        _letter(records.raw_rewards[row], "orphan") for row in fresh.tolist() if row in records.raw_rewards
    ]


def _close_outside(shard: Shard, gone: _Sums, rows: _Slots) -> None:
    """Rewards outside their decision's window close when their own time is behind the cut.

    One that came long before its decision does so before the decision counts, and gets its outcome here.
    """
    records = shard.records
    rows = rows[(records.r["flags"][rows] & MARKER) == 0]
    if not len(rows):
        return
    counted = (records.d["flags"][records.r["slot"][rows]] & COUNTED) != 0
    _add_counts(records, gone, _counts_outside(records, rows), sign=1)
    _add_counts(records, shard.live, _counts_outside(records, rows[~counted]), sign=1)
    for row in rows[~counted].tolist():
        reason = _place(records, int(records.r["slot"][row]))
        if row in records.raw_rewards and reason.startswith("unknown"):
            shard.letters.append(_letter(records.raw_rewards[row], reason))


def _counts_outside(records: OpenRecords, rows: _Slots) -> npt.NDArray[np.int64]:
    """Count the rewards outside their windows by [labels, outcomes], duplicates included."""
    table = records.table
    outcomes = np.empty(len(rows), np.int64)
    outcomes_outside(rows, table.place, table.bandit, table.bandits, IMPRESSION, records.d, records.r, outcomes)
    labels = records.d["label"][records.r["slot"][rows]]
    counts = np.zeros((len(table.labels), len(OUTCOMES)), np.int64)
    np.add.at(counts, (labels, outcomes), 1)
    np.add.at(counts[:, DUPLICATE], labels, records.r["dups"][rows])
    np.add.at(counts[:, CONFLICTING], labels, (records.r["flags"][rows] & CONFLICT) != 0)
    return counts


def _bury_what_follows_unknown(shard: Shard, touched: _Slots, rows: _Slots, slots: _Slots) -> None:
    """Further copies, and rewards, of a decision that has been buried as unknown follow it at once."""
    records = shard.records
    for slot in touched.tolist():
        reason = _place(records, slot)
        originals = records.raw_decisions.pop(slot, ())
        if reason.startswith("unknown"):
            shard.letters += [_letter(original, reason) for original in originals]
    counted = (records.d["flags"][slots] & COUNTED) != 0
    for row, slot in zip(rows[counted].tolist(), slots[counted].tolist(), strict=True):
        reason = _place(records, slot)
        if row in records.raw_rewards and reason.startswith("unknown"):
            shard.letters.append(_letter(records.raw_rewards.pop(row), reason))


def _forget_originals(records: OpenRecords, slots: _Slots) -> None:
    """Rewards whose decision has come, and is known, can become no dead letters."""
    if not records.raw_rewards:
        return
    known = slots[(records.d["first"][slots] >= 0) & (records.table.place[records.d["label"][slots]] == 0)]
    for slot in known.tolist():
        for row in records.rewards_of(slot):
            records.raw_rewards.pop(row, None)


def _follow(shard: Shard, rules: Rules) -> None:
    """Apply other rules. Decisions of a label whose rules changed are counted again."""
    records = shard.records
    changed = records.table.changed_by(rules)
    flags = records.d["flags"][: records.used_d]
    slots = np.flatnonzero((flags & (HAS | COUNTED | DEAD)) == HAS | COUNTED).astype(np.int32)
    slots = slots[changed[records.d["label"][slots]]] if len(changed) else slots[:0]
    if len(slots):
        _add(shard, shard.live, slots, sign=-1)
    records.table.follow(rules)
    if len(slots):
        _add(shard, shard.live, slots)
        records.stale = True


def _add(shard: Shard, sums: _Sums, slots: _Slots, sign: int = 1) -> None:
    """Add what decisions are worth to the live sums, or take it away, and follow the maxima."""
    records = shard.records
    worth = settle_slots(records, slots)
    _add_worth(records, sums, worth, sign)
    counted = worth.outcome == COUNTED_OUTCOME
    labels, decided = records.d["label"][slots[counted]], records.d["at"][slots[counted]]
    event_us = worth.event_us[counted]
    if sign > 0:
        np.maximum.at(records.event_max, labels, event_us)
        np.maximum.at(records.decided_max, labels, decided)
    elif (event_us >= records.event_max[labels]).any() or (decided >= records.decided_max[labels]).any():
        records.stale = True


def _add_worth(records: OpenRecords, sums: _Sums, worth: Worth, sign: int) -> None:
    table, d, slots = records.table, records.d, worth.slots
    _add_counts(records, sums, worth.counts, sign)
    for code, kind in np.argwhere(worth.kinds).tolist():
        row = sums.rows.setdefault(table.labels[code], RowSums())
        row.add(RowSums(kinds={table.kinds[kind]: int(worth.kinds[code, kind])}), sign)
    fallbacks = np.bincount(d["label"][slots[worth.outcome == FALLBACK_OUTCOME]])
    for code in np.flatnonzero(fallbacks).tolist():
        sums.rows.setdefault(table.labels[code], RowSums()).fallbacks += sign * int(fallbacks[code])
    counted = worth.outcome == COUNTED_OUTCOME
    slots = slots[counted]
    columns = Counted(d["label"][slots], d["at"][slots], worth.reward[counted], d["propensity"][slots])
    if records.features is not None and records.described is not None:
        wanted = table.wanted_schema[columns.label]
        columns.features = records.features[slots]
        columns.described = (records.described[slots] == wanted) & (wanted >= 0)
    for code, row in sum_rows(columns, table.known, _lin_of(records)).items():
        sums.rows.setdefault(table.labels[code], RowSums()).add(row, sign)


def _add_counts(records: OpenRecords, sums: _Sums, counts: npt.NDArray[np.int64], sign: int) -> None:
    for code, outcome in np.argwhere(counts).tolist():
        label = records.table.labels[code]
        held_back = label.segment == HOLDBACK and OUTCOMES[outcome] in _OF_HOLDBACK
        key = (label.bandit_id, label.policy_epoch, "holdback" if held_back else OUTCOMES[outcome])
        sums.counters[key] += sign * int(counts[code, outcome])


def _lin_of(records: OpenRecords) -> Sequence[tuple[str, int]]:
    """By label: the feature schema that its bandit asks for and d, ("", 0) for none."""
    table = records.table
    return [
        (table.schemas[schema], width) if schema >= 0 else ("", 0)
        for schema, width in zip(table.wanted_schema.tolist(), table.wanted_width.tolist(), strict=True)
    ]


def _look_for_maxima(records: OpenRecords) -> None:
    """Compute the maxima over counted open records and over closed records."""
    flags = records.d["flags"][: records.used_d]
    slots = np.flatnonzero((flags & (HAS | COUNTED | MARKER | DEAD)) == HAS | COUNTED).astype(np.int32)
    worth = settle_slots(records, slots)
    counted = worth.outcome == COUNTED_OUTCOME
    labels = records.d["label"][slots[counted]]
    records.event_max = records.closed_event_max.copy()
    records.decided_max = records.closed_decided_max.copy()
    np.maximum.at(records.event_max, labels, worth.event_us[counted])
    np.maximum.at(records.decided_max, labels, records.d["at"][slots[counted]])
    records.stale = False


def _place(records: OpenRecords, slot: int) -> str:
    """Return "counted" if the rules know the label of a decision, otherwise its outcome."""
    return OUTCOMES[int(records.table.place[records.d["label"][slot]])]


def _unknown(records: OpenRecords) -> npt.NDArray[np.bool_]:
    """By label: whether it is unknown_*."""
    return np.array([OUTCOMES[place].startswith("unknown") for place in records.table.place.tolist()], np.bool_)


def _letter(original: Original, reason: str) -> DeadLetter:
    source, position, data = original
    return DeadLetter(source, position, reason, data)
