"""Join the blocks of one shard: each decision once, with its reward by the attribution rules of the bandits file.

The rules are those of a bounded run of reward_stream: of conflicting copies the same one wins, the same rewards lie in
the window, and they aggregate alike (`joining.kernels`). This module keeps the rows instead of adding them up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.attribution.block import decode
from transforms.attribution.joined.details import DECISION_DETAILS, REWARD_DETAILS
from transforms.attribution.joined.log_blocks import LogBlock, read_details
from transforms.attribution.joining.kernels import CONFLICT, FALLBACK, HAS, OUTCOMES
from transforms.attribution.joining.open_records import OpenRecords
from transforms.attribution.joining.settling import settle_slots
from transforms.attribution.rules import Rules

__all__ = ["JoinedDecisions", "join_blocks"]

_MICRO = 1e6


@dataclasses.dataclass(frozen=True, eq=False)
class JoinedDecisions:
    """Decisions with their rewards, one block per shard of decision ids. Equal records give equal blocks.

    Columns of `decisions`, one row per decision_id, in the order of a hash of it. Texts marked * are dictionaries:

        key              uint64, hash of decision_id, for folds and seeded draws
        decision_id, user_key (null: none), context, propensities, eligible_arms, items (JSON texts, null: none)
        bandit_id*, policy_epoch int64, segment* (`*holdback` for the holdback), arm_id*, arm_generation int64
        propensity       float64, of arm_id
        decided_at_us    int64, microseconds since 1970
        outcome*         as in events.md; `counted`, `unexposed`, `bot`, `old_epoch` or `unknown_...`. Neither a
                         fallback nor the holdback changes it, so that both keep their rewards
        fallback, holdback, bot   bool
        reward           float64, aggregated by the bandit's rules; 0 unless `counted`
        served_by        text, arm_id if the record has none
        rung, snapshot_version (null: none), features list<float64> (null: none), feature_schema

    Columns of `rewards`, one row per event of a decision that is there:

        decision         int64, row of `decisions`
        kind*, value float64, occurred_at_us int64, item_id, position (null: none)
        in_window        bool, whether it lies in the attribution window
    """

    decisions: pa.RecordBatch
    rewards: pa.RecordBatch


def join_blocks(parts: Iterable[LogBlock], rules: Rules) -> tuple[JoinedDecisions, Mapping[str, int]]:
    """Join the blocks of one shard, in any order.

    Args:
        parts: The blocks.
        rules: The rules of the bandits file.

    Returns:
        The decisions with their rewards, and how many records were `duplicate`, `conflicting_duplicates` and `orphan`.
    """
    records = OpenRecords(rules)
    decisions, rewards = _Copies(DECISION_DETAILS), _Copies(REWARD_DETAILS)
    for part in parts:
        block, details = decode(part.block), read_details(part.details)
        n = len(block.decisions)
        slots = records.find(
            np.concatenate([block.decisions.hi, block.rewards.hi]),
            np.concatenate([block.decisions.lo, block.rewards.lo]),
        )
        labels, kinds = records.table.codes(block.labels), records.table.kind_codes(block.kinds)
        if n:
            records.put_decisions(block, slots[:n], labels)
            decisions.add(slots[:n], block.decisions.at_us, block.decisions.rank, details)
        else:
            rows, _ = records.put_rewards(block, slots, kinds)
            rewards.add(rows, block.rewards.at_us, block.rewards.rank, details)
    d, r = records.d[: records.used_d], records.r[: records.used_r]
    slots = np.flatnonzero(d["flags"] & HAS).astype(np.int32)
    slots = slots[np.lexsort((d["lo"][slots], d["hi"][slots]))]
    place = np.full(len(d), -1, np.int64)
    place[slots] = np.arange(len(slots))
    owned = np.flatnonzero(place[r["slot"]] >= 0)
    owned = owned[np.lexsort((r["event"][owned], r["at"][owned], place[r["slot"][owned]]))]
    counts = {
        "duplicate": decisions.rows - len(slots) + rewards.rows - len(r),
        "conflicting_duplicates": int(
            np.count_nonzero(d["flags"] & CONFLICT) + np.count_nonzero(r["flags"] & CONFLICT)
        ),
        "orphan": len(r) - len(owned),
    }
    of_decisions = _decisions(records, slots, decisions.winners(d, slots))
    of_rewards = _rewards(records, owned, place, rewards.winners(r, owned))
    return JoinedDecisions(of_decisions, of_rewards), counts


class _Copies:
    """All copies of some records with their details, from which the winners are picked at the end."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._parts: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.uint64]]] = []
        self._details: list[pa.Table] = []
        self.rows = 0

    def add(
        self,
        slots: npt.NDArray[np.int32],
        at_us: npt.NDArray[np.int64],
        rank: npt.NDArray[np.uint64],
        details: pa.Table,
    ) -> None:
        self._parts.append((slots, at_us, rank))
        self._details.append(details)
        self.rows += len(slots)

    def winners(self, held: npt.NDArray[Any], wanted: npt.NDArray[np.integer]) -> pa.RecordBatch:
        """Return the details of the copies whose time and rank the held records [slots] have, for `wanted` slots."""
        if not self._parts:
            return _one_batch(self._schema.empty_table())
        slots, at_us, rank = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        rows = np.flatnonzero((held["at"][slots] == at_us) & (held["rank"][slots] == rank))[::-1]
        row_of = np.full(len(held), -1, np.int64)
        row_of[slots[rows]] = rows
        return _one_batch(pa.concat_tables(self._details).take(pa.array(row_of[wanted])))


def _decisions(records: OpenRecords, slots: npt.NDArray[np.int32], details: pa.RecordBatch) -> pa.RecordBatch:
    table, d = records.table, records.d
    fallback = (d["flags"][slots] & FALLBACK) != 0
    d["flags"][slots] &= 0xFF ^ FALLBACK  # so that a fallback keeps the reward of the arm that was drawn
    worth = settle_slots(records, slots)
    label = d["label"][slots]
    arm_id = _named([each.arm_id for each in table.labels], label)
    columns = {
        "key": d["hi"][slots],
        "bandit_id": _named([each.bandit_id for each in table.labels], label),
        "policy_epoch": _numbers([each.policy_epoch for each in table.labels], label),
        "segment": _named([each.segment for each in table.labels], label),
        "arm_id": arm_id,
        "arm_generation": _numbers([each.arm_generation for each in table.labels], label),
        "propensity": d["propensity"][slots],
        "decided_at_us": d["at"][slots],
        "outcome": _named(OUTCOMES, worth.outcome),
        "fallback": fallback,
        "reward": worth.reward / _MICRO,
    }
    return pa.record_batch(
        {
            **{name: pa.array(column) for name, column in columns.items()},
            **dict(zip(details.schema.names, details.columns, strict=True)),
            "holdback": pc.fill_null(details["holdback"], False),
            "bot": pc.fill_null(details["bot"], False),
            "served_by": pc.coalesce(details["served_by"], arm_id.cast(pa.string())),
        }
    )


def _rewards(
    records: OpenRecords, rows: npt.NDArray[np.int64], place: npt.NDArray[np.int64], details: pa.RecordBatch
) -> pa.RecordBatch:
    table, d, r = records.table, records.d, records.r[rows]
    slots = r["slot"]
    decided_us, rules = d["at"][slots], table.bandits[table.bandit[d["label"][slots]]]
    columns = {
        "decision": place[slots],
        "kind": _named(table.kinds, r["kind"]),
        "value": r["value"] / _MICRO,
        "occurred_at_us": r["at"],
        "in_window": (decided_us - rules["future"] <= r["at"]) & (r["at"] <= decided_us + rules["window"]),
    }
    return pa.record_batch(
        {
            **{name: pa.array(column) for name, column in columns.items()},
            **dict(zip(details.schema.names, details.columns, strict=True)),
        }
    )


def _named(names: Sequence[str], numbers: npt.NDArray[np.integer]) -> pa.DictionaryArray:
    """Return names by number as a dictionary that holds each name once."""
    codes = pa.array(names, pa.string()).dictionary_encode()
    return codes.take(pa.array(numbers))


def _numbers(values: Sequence[int], numbers: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    column: npt.NDArray[np.int64] = np.array(values, np.int64)[numbers]
    return column


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    return pa.record_batch([column.combine_chunks() for column in table.columns], schema=table.schema)
