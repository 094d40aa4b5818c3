"""The open records of one shard in memory: decisions and rewards by id, as arrays.

`fold` decides when a record counts and when it is dropped.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from serving_client.contracts.times import BEFORE_ALL_US
from transforms.attribution.block import Block, Features
from transforms.attribution.joining.kernels import (
    COUNTED,
    DEAD,
    DECISION,
    HAS,
    MARKER,
    REWARD,
    apply_decisions,
    apply_rewards,
    fill_index,
    fill_reward_index,
    find_slots,
    link_rewards,
    purge,
)
from transforms.attribution.joining.labels import LabelTable
from transforms.attribution.rules import Label, Rules

__all__ = ["OpenRecords", "Original"]

Original = tuple[str, int, bytes]
"""Source, position, bytes of a record."""

_LEAST_ROOM = 1 << 10
_GROWTH = 1.15  # memory is the price of room, and a copy now and then is cheap
_WORTH_COMPACTING = 1 << 14
_SPARSE = 0.6


class OpenRecords:
    """Decisions and rewards of one shard.

    d, r: arrays of DECISION [slots] and REWARD [rows], of which the first used_d and used_r are in use.
    raw_decisions, raw_rewards: originals, by slot (all copies) and row, of possible dead letters. event_ids: by row,
    where an aggregate is `first`. event_max, decided_max, and those of closed records: int64 [labels], microseconds.
    stale: a maximum may have been taken away; it has to be looked for again.
    """

    def __init__(self, rules: Rules) -> None:
        self.table = LabelTable(rules)
        self.d = np.zeros(_LEAST_ROOM, DECISION)
        self.r = np.zeros(_LEAST_ROOM, REWARD)
        # Slots ever used, the first free one, cells of the index; at least so many are free.
        self._pool_d, self._pool_r = np.array([0, -1, 0]), np.array([0, -1, 0])
        self._free_d = self._free_r = 0
        self._index_d = np.full(2 * _LEAST_ROOM, -1, np.int32)
        self._index_r = np.full(2 * _LEAST_ROOM, -1, np.int32)
        self.features: npt.NDArray[np.int32] | None = None
        self.described: npt.NDArray[np.int32] | None = None
        self.raw_decisions: dict[int, list[Original]] = {}
        self.raw_rewards: dict[int, Original] = {}
        self.event_ids: dict[int, str] = {}
        self.event_max = self.decided_max = self.closed_event_max = self.closed_decided_max = np.zeros(0, np.int64)
        self.stale = False

    @property
    def used_d(self) -> int:
        """Slots that were ever in use; some may be dead."""
        return int(self._pool_d[0])

    @property
    def used_r(self) -> int:
        """Rows that were ever in use; some may be dead."""
        return int(self._pool_r[0])

    def find(self, hi: npt.NDArray[np.uint64], lo: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
        """Return the slots of ids [n]. New ids get slots without a decision."""
        need = self.used_d + max(0, len(hi) - self._free_d)
        if need > len(self.d):
            self.d = _larger(self.d, self.used_d, need)
            if self.features is not None and self.described is not None:
                self.features = _larger(self.features, self.used_d, len(self.d))
                self.described = _larger(self.described, self.used_d, len(self.d))
        if 3 * (int(self._pool_d[2]) + len(hi)) > 2 * len(self._index_d):
            self._index_d = _table(self.used_d - self._free_d + len(hi))
            fill_index(self._index_d, self.d, self._pool_d)
        slots = np.empty(len(hi), np.int32)
        find_slots(self._index_d, self.d, self._pool_d, hi, lo, slots)
        self._free_d = max(0, self._free_d - len(hi))  # at least so many are left, duplicates take none
        return slots

    def put_decisions(self, block: Block, slots: npt.NDArray[np.int32], labels: npt.NDArray[np.int32]) -> None:
        """Put the decisions of a block into their slots. labels: the numbers of `block.labels` in this shard."""
        rows = block.decisions
        won = np.empty(len(slots), np.bool_)
        codes = labels[rows.label]
        apply_decisions(slots, rows.at_us, rows.rank, codes, rows.flags, rows.propensity, self.d, won)
        for row, original in rows.raw.items():
            self.raw_decisions.setdefault(int(slots[row]), []).append(original)
        if rows.features is not None:
            self._put_features(slots, won, rows.features, self.table.schema_codes(block.schemas))
        elif self.described is not None:
            self.described[slots[won]] = -1

    def put_rewards(
        self, block: Block, slots: npt.NDArray[np.int32], kinds: npt.NDArray[np.uint16]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        """Put the rewards of a block into rows. kinds: the numbers of `block.kinds` in this shard.

        Returns the rows [n], and whether the original of each may be needed [n]: its decision is not there, or unknown.
        """
        rewards = block.rewards
        need = self.used_r + max(0, len(slots) - self._free_r)
        if need > len(self.r):
            self.r = _larger(self.r, self.used_r, need)
        if 3 * (int(self._pool_r[2]) + len(slots)) > 2 * len(self._index_r):
            self._index_r = _table(self.used_r - self._free_r + len(slots))
            fill_reward_index(self._index_r, self.d, self.r, self._pool_r)
        rows, won = np.empty(len(slots), np.int32), np.empty(len(slots), np.bool_)
        apply_rewards(
            self._index_r, slots, rewards.event, rewards.at_us, rewards.rank, kinds[rewards.kind], rewards.value,
            rewards.flags, self.d, self.r, self._pool_r, rows, won,
        )  # fmt: skip
        self._free_r = max(0, self._free_r - len(slots))
        if rewards.event_id is not None:
            for at in np.flatnonzero(won).tolist():
                self.event_ids[int(rows[at])] = rewards.event_id[at]
        flags = self.d["flags"][slots]
        unsure = (flags & HAS) == 0
        unsure[~unsure] = self.table.place[self.d["label"][slots[~unsure]]] != 0
        for at in np.flatnonzero(won & unsure).tolist():
            if not rewards.raw[at]:  # it was not needed when the block was logged
                continue
            source = block.sources[rewards.source[at]]
            self.raw_rewards[int(rows[at])] = (source, int(rewards.position[at]), rewards.raw[at])
        return rows, unsure

    def rewards_of(self, slot: int) -> list[int]:
        """Rows of a decision's rewards that are not dead."""
        found, row = [], int(self.d["first"][slot])
        while row >= 0:
            if not self.r["flags"][row] & DEAD:
                found.append(row)
            row = int(self.r["next"][row])
        return found

    def widen(self) -> None:
        """Give new labels their maxima."""
        missing = len(self.table.labels) - len(self.event_max)
        if missing:
            none = np.full(missing, BEFORE_ALL_US, np.int64)
            self.event_max = np.concatenate([self.event_max, none])
            self.decided_max = np.concatenate([self.decided_max, none])
            self.closed_event_max = np.concatenate([self.closed_event_max, none])
            self.closed_decided_max = np.concatenate([self.closed_decided_max, none])

    def let_go(self, cut_us: int) -> None:
        """Free what is dead, and what no record can need once the cut is at `cut_us`."""
        alive = np.zeros(self.used_d, np.int32)
        self._free_d, self._free_r = purge(cut_us, self.d, self.r, self._pool_d, self._pool_r, alive)
        for slot in [slot for slot in self.raw_decisions if self.d["flags"][slot] & DEAD]:
            del self.raw_decisions[slot]
        sparse_d = self.used_d > _WORTH_COMPACTING and self._free_d > _SPARSE * self.used_d
        sparse_r = self.used_r > _WORTH_COMPACTING and self._free_r > _SPARSE * self.used_r
        if sparse_d or sparse_r:
            self._compact()

    def _compact(self) -> None:
        """Make the arrays small again, after a burst."""
        alive_d = np.flatnonzero((self.d["flags"][: self.used_d] & DEAD) == 0)
        alive_r = np.flatnonzero((self.r["flags"][: self.used_r] & DEAD) == 0)
        slot_of = np.full(self.used_d, -1, np.int32)
        slot_of[alive_d] = np.arange(len(alive_d), dtype=np.int32)
        row_of = dict(zip(alive_r.tolist(), range(len(alive_r)), strict=True))
        self.d = _larger(self.d[alive_d], len(alive_d), len(alive_d))
        self.r = _larger(self.r[alive_r], len(alive_r), len(alive_r))
        self._pool_d[:2] = len(alive_d), -1
        self._pool_r[:2] = len(alive_r), -1
        self._free_d = self._free_r = 0
        self.r["slot"][: self.used_r] = slot_of[self.r["slot"][: self.used_r]]
        if self.features is not None and self.described is not None:
            self.features = _larger(self.features[alive_d], self.used_d, len(self.d))
            self.described = _larger(self.described[alive_d], self.used_d, len(self.d))
        self.raw_decisions = {int(slot_of[slot]): raw for slot, raw in self.raw_decisions.items() if slot_of[slot] >= 0}
        self.raw_rewards = {row_of[row]: raw for row, raw in self.raw_rewards.items() if row in row_of}
        self.event_ids = {row_of[row]: text for row, text in self.event_ids.items() if row in row_of}
        self._keep_labels()
        link_rewards(self.used_d, self.used_r, self.d, self.r)
        self._index_d, self._index_r = _table(len(self.d)), _table(len(self.r))
        fill_index(self._index_d, self.d, self._pool_d)
        fill_reward_index(self._index_r, self.d, self.r, self._pool_r)

    def carry(self) -> dict[str, Any]:
        """Return what folding the log again cannot restore: closed maxima, and decisions behind the cut.

        The decisions' labels are places in `labels`, which holds each label once.
        """
        maxima = zip(self.table.labels, self.closed_event_max.tolist(), self.closed_decided_max.tolist(), strict=False)
        flags = self.d["flags"][: self.used_d]
        behind = self.d[: self.used_d][(flags & (HAS | MARKER | DEAD)) == HAS | MARKER]
        codes, behind["label"] = np.unique(behind["label"], return_inverse=True)
        return {
            "maxima": [each for each in maxima if each[1] > BEFORE_ALL_US],
            "behind": behind,
            "labels": [self.table.labels[code] for code in codes.tolist()],
            "outliving": self.table.outliving(),
        }

    def restore(self, carry: dict[str, Any]) -> None:
        """Take what `carry` gave; `table.recall` has had its labels before the log was folded."""
        self.table.recall(carry["outliving"])
        labels = self.table.codes([label for label, _, _ in carry["maxima"]])
        self.widen()
        self.closed_event_max[:] = self.closed_decided_max[:] = BEFORE_ALL_US
        for code, (_, event_us, decided_us) in zip(labels.tolist(), carry["maxima"], strict=True):
            self.closed_event_max[code], self.closed_decided_max[code] = event_us, decided_us
        self.stale = True  # a log that begins amid the records of an id may have counted one that lost
        behind = carry["behind"]
        if len(behind):
            codes = self.table.codes(carry["labels"])[behind["label"]]
            self.widen()
            slots = self.find(behind["hi"].copy(), behind["lo"].copy())
            for name in ("at", "rank", "propensity", "dups"):
                self.d[name][slots] = behind[name]
            self.d["label"][slots] = codes
            self.d["flags"][slots] = behind["flags"] | COUNTED

    def closed_maxima(self) -> tuple[dict[Label, int], dict[Label, int]]:
        """Of closed records, by label: the largest event time, the largest decided_at."""
        return self._by_label(self.closed_event_max), self._by_label(self.closed_decided_max)

    def maxima(self) -> tuple[dict[Label, int], dict[Label, int]]:
        """Of all counted records, by label: the largest event time, the largest decided_at."""
        return self._by_label(self.event_max), self._by_label(self.decided_max)

    def _by_label(self, times: npt.NDArray[np.int64]) -> dict[Label, int]:
        there = np.flatnonzero(times > BEFORE_ALL_US).tolist()
        return {self.table.labels[code]: int(times[code]) for code in there}

    def _keep_labels(self) -> None:
        """Drop labels without open records or maxima. Segments that hold user ids would otherwise accumulate."""
        held = np.zeros(len(self.table.labels), np.bool_)
        held[self.d["label"][: self.used_d][(self.d["flags"][: self.used_d] & HAS) != 0]] = True
        self.widen()
        held |= self.event_max > BEFORE_ALL_US
        if held.all():
            return
        used = np.flatnonzero(held)
        code_of = np.zeros(len(held), np.int32)
        code_of[used] = np.arange(len(used), dtype=np.int32)
        self.d["label"][: self.used_d] = code_of[self.d["label"][: self.used_d]]
        self.table.keep(used)
        self.event_max, self.decided_max = self.event_max[used], self.decided_max[used]
        self.closed_event_max, self.closed_decided_max = self.closed_event_max[used], self.closed_decided_max[used]

    def _put_features(
        self, slots: npt.NDArray[np.int32], won: npt.NDArray[np.bool_], given: Features, schemas: npt.NDArray[np.int32]
    ) -> None:
        """Vectors into the rows of their slots; one longer than any bandit's is not kept, it can enter no sum."""
        width = int(self.table.wanted_width.max(initial=0))
        if self.features is None or self.described is None or self.features.shape[1] < width:
            wider = np.zeros((len(self.d), width), np.int32)
            if self.features is not None:
                wider[:, : self.features.shape[1]] = self.features
            if self.described is None:
                self.described = np.full(len(self.d), -1, np.int32)
            self.features = wider
        lengths = np.diff(given.offsets)
        for row in np.flatnonzero(won).tolist():
            slot, code = slots[row], int(given.schema[row])
            wanted = self.table.wanted_width[self.d["label"][slot]]
            fits = code >= 0 and lengths[row] == wanted and wanted > 0
            self.described[slot] = schemas[code] if fits else -1
            if fits:
                start = given.offsets[row]
                self.features[slot, :wanted] = given.values[start : start + wanted]


def _larger(array: npt.NDArray[Any], used: int, need: int) -> npt.NDArray[Any]:
    """Copy the used part into an array with room for `need` and some more."""
    larger = np.zeros((max(_LEAST_ROOM, int(need * _GROWTH)), *array.shape[1:]), array.dtype)
    larger[:used] = array[:used]
    return larger


def _table(entries: int) -> npt.NDArray[np.int32]:
    """Make an empty index that this number of entries fills to two thirds at most."""
    size = 2 * _LEAST_ROOM
    while 2 * size < 3 * entries:
        size *= 2
    return np.full(size, -1, np.int32)
