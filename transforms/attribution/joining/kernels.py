"""The loops of the join over open records, compiled: finding, applying, settling and scanning.

Decisions are records by slot, rewards records by row (the layouts below); `next` links the rewards of one decision. An
index is an open-addressing table of slots or rows (-1: free), a power of two in size and at most two thirds full. All
arrays are written in place; capacities are the caller's business.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

__all__ = [
    "AGGREGATES",
    "BANDIT",
    "BOT",
    "CONFLICT",
    "CONFLICTING",
    "COUNTED",
    "COUNTED_OUTCOME",
    "DEAD",
    "DECISION",
    "DUPLICATE",
    "EXPOSED",
    "FALLBACK",
    "FALLBACK_OUTCOME",
    "HAS",
    "MARKER",
    "OUTCOMES",
    "REWARD",
    "apply_decisions",
    "apply_rewards",
    "fill_index",
    "fill_reward_index",
    "find_slots",
    "in_window",
    "link_rewards",
    "outcomes_outside",
    "purge",
    "scan_decisions",
    "scan_rewards",
    "settle",
]

_Array = npt.NDArray[Any]

BOT, FALLBACK, MARKER, HAS, COUNTED, CONFLICT, DEAD, EXPOSED = 1, 2, 4, 8, 16, 32, 64, 128
"""Flags. HAS: the decision itself has come (its rewards may come first). COUNTED: it is in the live totals.

MARKER: the decision is behind the cut and counts nothing, nor do rewards inside its window. CONFLICT: two contents
under one id. EXPOSED: had its impression when it went behind the cut. Rewards have MARKER, CONFLICT and DEAD alone.
"""

OUTCOMES = (
    "counted", "unknown_bandit", "old_epoch", "unknown_epoch", "unknown_arm", "unknown_generation",
    "bot", "fallback", "unexposed", "outside_window", "ignored_kind", "duplicate", "conflicting_duplicates",
)  # fmt: skip
"""Columns of `settle`'s counts; the first is 0, which is also "known" as a label's place."""
COUNTED_OUTCOME, _BOT, FALLBACK_OUTCOME, _UNEXPOSED, _OUTSIDE, _IGNORED, DUPLICATE, CONFLICTING = (
    0, 6, 7, 8, 9, 10, 11, 12,
)  # fmt: skip

DECISION = np.dtype([
    ("hi", "u8"), ("lo", "u8"), ("at", "i8"), ("rank", "u8"), ("propensity", "f8"),
    ("label", "i4"), ("first", "i4"), ("dups", "u4"), ("flags", "u1"), ("spare", "u1"), ("spare2", "u2"),
])  # fmt: skip
"""One open decision, 56 bytes. first: the row of the reward that came last, -1 for none."""
REWARD = np.dtype([
    ("event", "u8"), ("at", "i8"), ("rank", "u8"), ("value", "i8"),
    ("slot", "i4"), ("next", "i4"), ("dups", "u4"), ("kind", "u2"), ("flags", "u1"), ("spare", "u1"),
])  # fmt: skip
"""One open reward, 48 bytes."""
BANDIT = np.dtype([("window", "i8"), ("future", "i8"), ("aggregate", "i8"), ("impressions", "i8")])
"""One bandit's attribution."""

AGGREGATES = ("any", "first", "sum", "max")
_ANY, _FIRST, _SUM, _MAX = 0, 1, 2, 3
_MICRO = 1_000_000
_MOST = 1 << 62  # a decision's summed reward stops here, 4.6e12 in reward units
_LIMB = 1 << 30


@numba.njit(cache=True)
def find_slots(table: _Array, d: _Array, pool: _Array, hi: _Array, lo: _Array, out: _Array) -> None:
    """Write the slot of each key (hi, lo) [n] to out [n]. New keys get free slots.

    pool: int64 [3]: slots ever used, the first free one (-1: none; `first` names the next), and cells of the table.
    A slot that was freed and taken again leaves its former cell behind, which then leads to another key or to this one.
    """
    mask = np.uint64(len(table) - 1)
    for i in range(len(hi)):
        at = hi[i] & mask
        while True:
            slot = table[at]
            if slot < 0:
                slot = pool[1]
                if slot < 0:
                    slot = pool[0]
                    pool[0] += 1
                else:
                    pool[1] = d[slot].first
                pool[2] += 1
                table[at] = slot
                d[slot].hi = hi[i]
                d[slot].lo = lo[i]
                d[slot].flags = 0
                d[slot].dups = 0
                d[slot].first = -1
                out[i] = slot
                break
            if d[slot].hi == hi[i] and d[slot].lo == lo[i] and not d[slot].flags & DEAD:
                out[i] = slot
                break
            at = (at + np.uint64(1)) & mask


@numba.njit(cache=True)
def fill_index(table: _Array, d: _Array, pool: _Array) -> None:
    """Put every slot that is not dead into a table that is all -1."""
    mask = np.uint64(len(table) - 1)
    pool[2] = 0
    for slot in range(pool[0]):
        if d[slot].flags & DEAD:
            continue
        at = d[slot].hi & mask
        while table[at] >= 0:
            at = (at + np.uint64(1)) & mask
        table[at] = slot
        pool[2] += 1


@numba.njit(cache=True)
def fill_reward_index(table: _Array, d: _Array, r: _Array, pool: _Array) -> None:
    """Put every reward row that is not dead into a table that is all -1."""
    mask = np.uint64(len(table) - 1)
    pool[2] = 0
    for row in range(pool[0]):
        if r[row].flags & DEAD:
            continue
        at = (r[row].event + d[r[row].slot].hi) & mask
        while table[at] >= 0:
            at = (at + np.uint64(1)) & mask
        table[at] = row
        pool[2] += 1


@numba.njit(cache=True)
def apply_decisions(
    slots: _Array, at: _Array, rank: _Array, label: _Array, flags: _Array, propensity: _Array, d: _Array, won: _Array
) -> None:
    """Put records [n] into their slots: of one id, the one with the smaller (time, rank). won [n]: which did."""
    for i in range(len(slots)):
        slot = slots[i]
        mine = d[slot].flags
        won[i] = not mine & HAS
        if mine & HAS:
            d[slot].dups += 1
            if at[i] != d[slot].at or rank[i] != d[slot].rank:
                mine |= CONFLICT
                won[i] = at[i] < d[slot].at or (at[i] == d[slot].at and rank[i] < d[slot].rank)
        if won[i]:
            d[slot].at = at[i]
            d[slot].rank = rank[i]
            d[slot].label = label[i]
            d[slot].propensity = propensity[i]
            mine = (mine & (COUNTED | CONFLICT | EXPOSED)) | HAS | (flags[i] & (BOT | FALLBACK | MARKER))
        d[slot].flags = mine


@numba.njit(cache=True)
def apply_rewards(
    table: _Array,
    slots: _Array,
    event: _Array,
    at: _Array,
    rank: _Array,
    kind: _Array,
    value: _Array,
    flags: _Array,
    d: _Array,
    r: _Array,
    pool: _Array,
    rows: _Array,
    won: _Array,
) -> None:
    """Rewards [n] of decisions in slots [n] into rows [n], as `apply_decisions` does. pool: as in `find_slots`."""
    mask = np.uint64(len(table) - 1)
    for i in range(len(slots)):
        slot = slots[i]
        place = (event[i] + d[slot].hi) & mask
        while True:
            row = table[place]
            if row < 0 or (r[row].slot == slot and r[row].event == event[i] and not r[row].flags & DEAD):
                break
            place = (place + np.uint64(1)) & mask
        if row < 0:
            row = pool[1]
            if row < 0:
                row = pool[0]
                pool[0] += 1
            else:
                pool[1] = r[row].next
            pool[2] += 1
            table[place] = row
            r[row].slot = slot
            r[row].event = event[i]
            r[row].flags = flags[i] & MARKER
            r[row].dups = 0
            r[row].next = d[slot].first
            d[slot].first = row
            won[i] = True
        else:
            won[i] = False
            r[row].dups += 1
            if at[i] != r[row].at or rank[i] != r[row].rank:
                r[row].flags |= CONFLICT
                won[i] = at[i] < r[row].at or (at[i] == r[row].at and rank[i] < r[row].rank)
                if won[i]:
                    r[row].flags = (r[row].flags & CONFLICT) | (flags[i] & MARKER)
        rows[i] = row
        if won[i]:
            r[row].at = at[i]
            r[row].rank = rank[i]
            r[row].kind = kind[i]
            r[row].value = value[i]


@numba.njit(cache=True, inline="always")
def in_window(decided: int, occurred: int, future: int, window: int) -> bool:
    """Return whether a reward lies in its decision's window.

    Clocks differ, so it may also come earlier than its decision, by `future`. All times are in microseconds.
    """
    return (decided - future <= occurred) & (occurred <= decided + window)


@numba.njit(cache=True)
def _exposed(slot: int, window: int, future: int, impression: int, d: _Array, r: _Array) -> bool:
    if d[slot].flags & EXPOSED:
        return True
    row = d[slot].first
    while row >= 0:
        if in_window(d[slot].at, r[row].at, future, window) and r[row].kind == impression and not r[row].flags & DEAD:
            return True
        row = r[row].next
    return False


@numba.njit(cache=True)
def settle(
    slots: _Array,
    closing: bool,
    place: _Array,
    bandit: _Array,
    bandits: _Array,
    rewarded_kinds: _Array,
    impression: int,
    d: _Array,
    r: _Array,
    counts: _Array,
    kinds: _Array,
    outcome: _Array,
    reward: _Array,
    event_us: _Array,
    ties: _Array,
) -> None:
    """Compute the contribution of decisions in slots [n] and their rewards.

    closing: without rewards outside the window, which close by their own time. place, bandit [labels]: 0 or an outcome,
    and the bandit's row in `bandits` and `rewarded_kinds` [bandits, kinds]. Adds to counts [labels, OUTCOMES] and
    kinds [labels, kinds]. Sets outcome [n] (-1: behind the cut, counts nothing), reward [n] in micro-units, and
    event_us [n], the newest of the decision and its rewards inside the window. ties [n]: `first` has to tell events of
    one time apart by their ids.
    """
    for i in range(len(slots)):
        slot = slots[i]
        label = d[slot].label
        owner = bandit[label]
        known = place[label]
        marker = bool(d[slot].flags & MARKER)
        window = bandits[owner].window
        future = bandits[owner].future
        if known:
            own = known
        elif d[slot].flags & BOT:
            own = _BOT
        elif d[slot].flags & FALLBACK:
            own = FALLBACK_OUTCOME
        elif bandits[owner].impressions and not _exposed(slot, window, future, impression, d, r):
            own = _UNEXPOSED
        else:
            own = COUNTED_OUTCOME
        outcome[i] = -1 if marker else own
        ties[i] = False
        if not marker:
            # Another copy of a decision that is unknown, or of an old epoch, is that before it is a duplicate.
            counts[label, own] += 1 + (d[slot].dups if known else 0)
            counts[label, DUPLICATE] += 0 if known else d[slot].dups
            counts[label, CONFLICTING] += 1 if d[slot].flags & CONFLICT else 0
        aggregate = bandits[owner].aggregate
        high = 0
        low = 0
        best = 0
        best_at = 0
        seen = False
        newest = d[slot].at
        row = d[slot].first
        while row >= 0:
            if not r[row].flags & DEAD:
                inside = in_window(d[slot].at, r[row].at, future, window)
                covered = marker if inside else (closing or (r[row].flags & MARKER) != 0)
                if not covered:
                    kind = r[row].kind
                    rewarded = rewarded_kinds[owner, kind]
                    if own != COUNTED_OUTCOME:
                        theirs = own
                    elif not inside:
                        theirs = _OUTSIDE
                    elif rewarded or (kind == impression and bandits[owner].impressions):
                        theirs = COUNTED_OUTCOME
                    else:
                        theirs = _IGNORED
                    counts[label, theirs] += 1
                    counts[label, DUPLICATE] += r[row].dups
                    counts[label, CONFLICTING] += 1 if r[row].flags & CONFLICT else 0
                    if own == COUNTED_OUTCOME and inside:
                        kinds[label, kind] += 1
                        newest = max(newest, r[row].at)
                        if rewarded:
                            value = r[row].value
                            if aggregate == _SUM:
                                high += value >> 30
                                low += value & (_LIMB - 1)
                            elif aggregate == _ANY:
                                if value > 0:
                                    best = _MICRO
                            elif aggregate == _MAX:
                                best = value if not seen else max(best, value)
                            elif not seen or r[row].at < best_at:
                                best = value
                                best_at = r[row].at
                                ties[i] = False
                            elif r[row].at == best_at:
                                ties[i] = True
                            seen = True
            row = r[row].next
        if aggregate == _SUM:
            high += low >> 30
            low &= _LIMB - 1
            if high >= 1 << 32:
                best = _MOST
            elif high < -(1 << 32):
                best = -_MOST
            else:
                best = (high << 30) + low
        reward[i] = best
        event_us[i] = newest


@numba.njit(cache=True)
def scan_decisions(
    used: int,
    maturing: int,
    cut: int,
    place: _Array,
    bandit: _Array,
    bandits: _Array,
    d: _Array,
    mature: _Array,
    closing: _Array,
    pending: _Array,
) -> tuple[int, int]:
    """Which slots mature now, and which go behind the cut; pending [labels] counts those that will be counted.

    place: an unknown label matures at the cut alone, old_epoch (2) with its window. Returns (mature, closing), numbers
    of slots written to the two arrays.
    """
    matured = 0
    closed = 0
    for slot in range(used):
        flags = d[slot].flags
        if flags & DEAD or not flags & HAS:
            continue
        label = d[slot].label
        behind = d[slot].at < cut
        if not flags & COUNTED:
            known = place[label] == 0 or place[label] == 2
            if behind or (known and d[slot].at + bandits[bandit[label]].window <= maturing):
                mature[matured] = slot
                matured += 1
            elif place[label] == 0 and not flags & (BOT | FALLBACK | MARKER):
                pending[label] += 1
        if behind and not flags & MARKER:
            closing[closed] = slot
            closed += 1
    return matured, closed


@numba.njit(cache=True)
def scan_rewards(
    used: int,
    cut: int,
    bandit: _Array,
    bandits: _Array,
    d: _Array,
    r: _Array,
    orphans: _Array,
    outside: _Array,
    inside: _Array,
) -> tuple[int, int, int]:
    """Rewards behind the cut: without a decision; outside their decision's window; and those inside one behind the cut.

    To be called once decisions behind the cut are markers. Returns how many of each were written to the arrays.
    """
    n_orphans = 0
    n_outside = 0
    n_inside = 0
    for row in range(used):
        if r[row].flags & DEAD:
            continue
        slot = r[row].slot
        flags = d[slot].flags
        if not flags & HAS:
            if r[row].at < cut:
                orphans[n_orphans] = row
                n_orphans += 1
            continue
        owner = bandit[d[slot].label]
        if in_window(d[slot].at, r[row].at, bandits[owner].future, bandits[owner].window):
            if flags & MARKER and d[slot].at < cut:
                inside[n_inside] = row
                n_inside += 1
        elif r[row].at < cut:
            outside[n_outside] = row
            n_outside += 1
    return n_orphans, n_outside, n_inside


@numba.njit(cache=True)
def outcomes_outside(
    rows: _Array, place: _Array, bandit: _Array, bandits: _Array, impression: int, d: _Array, r: _Array, out: _Array
) -> None:
    """Write the outcome of each reward [n] outside its decision's window, as `settle` gives it, to out [n]."""
    for i in range(len(rows)):
        slot = r[rows[i]].slot
        label = d[slot].label
        owner = bandit[label]
        flags = d[slot].flags
        if place[label]:
            out[i] = place[label]
        elif flags & BOT:
            out[i] = _BOT
        elif flags & FALLBACK:
            out[i] = FALLBACK_OUTCOME
        elif bandits[owner].impressions and not _exposed(
            slot, bandits[owner].window, bandits[owner].future, impression, d, r
        ):
            out[i] = _UNEXPOSED
        else:
            out[i] = _OUTSIDE


@numba.njit(cache=True)
def purge(cut: int, d: _Array, r: _Array, pool_d: _Array, pool_r: _Array, alive: _Array) -> tuple[int, int]:
    """Free what no record can need: dead rewards, decisions behind the cut and ids without one, if no reward is left.

    alive: int32 [slots], all zero. Returns how many slots and rows are free.
    """
    for slot in range(pool_d[0]):
        if not d[slot].flags & DEAD:
            d[slot].first = -1
    free_rows = 0
    pool_r[1] = -1
    for row in range(pool_r[0]):
        if r[row].flags & DEAD:
            r[row].next = pool_r[1]
            pool_r[1] = row
            free_rows += 1
        else:
            slot = r[row].slot
            alive[slot] += 1
            r[row].next = d[slot].first
            d[slot].first = row
    free_slots = 0
    pool_d[1] = -1
    for slot in range(pool_d[0]):
        flags = d[slot].flags
        if flags & DEAD or (alive[slot] == 0 and (not flags & HAS or (flags & MARKER and d[slot].at < cut))):
            d[slot].flags = DEAD
            d[slot].first = pool_d[1]
            pool_d[1] = slot
            free_slots += 1
    return free_slots, free_rows


@numba.njit(cache=True)
def link_rewards(used_d: int, used_r: int, d: _Array, r: _Array) -> None:
    """Link each decision's rewards again, after rows have moved."""
    for slot in range(used_d):
        d[slot].first = -1
    for row in range(used_r):
        r[row].next = d[r[row].slot].first
        d[r[row].slot].first = row
