"""Turn joined decisions into interactions: which rewards count, whose they are, and of which item.

An interaction is a positive reward of a wanted kind:

    user_id      user_key of the decision
    item_id      item_id of the reward, or else the item at the reward's position in the decision's list, from 0
    weight       value of the reward
    timestamp    occurred_at of the reward

Each reward has one outcome, the first that applies:

    bot              its decision is a bot's
    other_kinds      its kind is not wanted
    not_positive     its value is 0 or less
    no_user          its decision has no user_key
    no_item          it has no item_id, and its decision has no item at its position
    interactions     all others

Attribution windows do not matter here: an item that a user chose a day later is still the user's choice. Neither does
it matter which arm was drawn, or whether the model failed and another list was shown.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.attribution.joined.join import JoinedDecisions

__all__ = ["OUTCOMES", "rows_of"]

OUTCOMES = ("bot", "other_kinds", "not_positive", "no_user", "no_item", "interactions")
"""Outcomes of a reward with a decision, in the order in which they are tested."""


def rows_of(joined: JoinedDecisions, kinds: Collection[str]) -> tuple[pa.Table, Mapping[str, int]]:
    """Return the interactions of one block of joined decisions, and counts.

    Args:
        joined: The decisions with their rewards.
        kinds: The wanted kinds.

    Returns:
        The interactions, sorted by user_id, timestamp, item_id and weight. Counts of OUTCOMES, `from_holdback` (the
        interactions of the holdback share), and `kind:NAME` (all rewards of a kind).
    """
    rewards = joined.rewards
    decisions = joined.decisions.select(["user_key", "items", "bot", "holdback"]).take(rewards["decision"])
    item_id = pc.coalesce(rewards["item_id"], _items_at(decisions["items"], rewards["position"], rewards["item_id"]))
    kind = rewards["kind"].cast(pa.string())
    tests = [
        _flags(decisions["bot"]),
        ~_flags(pc.is_in(kind, pa.array(sorted(kinds), pa.string()))),
        ~_flags(pc.greater(rewards["value"], 0)),
        _flags(pc.is_null(decisions["user_key"])),
        _flags(pc.is_null(item_id)),
    ]
    outcome = np.select(tests, range(len(tests)), len(tests))
    wanted = outcome == len(tests)
    table = pa.table(
        {
            "user_id": decisions["user_key"],
            "item_id": item_id,
            "weight": rewards["value"],
            "timestamp": rewards["occurred_at_us"].cast(pa.timestamp("us", tz="UTC")),
        }
    ).filter(pa.array(wanted))
    counts = dict(zip(OUTCOMES, np.bincount(outcome, minlength=len(OUTCOMES)).tolist(), strict=True))
    counts["from_holdback"] = int(np.count_nonzero(wanted & _flags(decisions["holdback"])))
    counts |= {f"kind:{each['values']}": each["counts"] for each in pc.value_counts(kind).to_pylist()}
    order = [(name, "ascending") for name in ("user_id", "timestamp", "item_id", "weight")]
    return table.sort_by(order), counts


def _items_at(items: pa.StringArray, position: pa.Int64Array, given: pa.StringArray) -> pa.StringArray:
    """Return the item at each position of a list, null for a row that has an item already or no such position."""
    found = pc.and_(pc.and_(pc.is_valid(items), pc.is_valid(position)), pc.is_null(given))
    texts = [
        _item_at(text, at) if wanted else None
        for text, at, wanted in zip(items.to_pylist(), position.to_pylist(), found.to_pylist(), strict=True)
    ]
    return pa.array(texts, pa.string())


@functools.lru_cache(maxsize=1_024)
def _item_at(items: str, position: int) -> str | None:
    listed: list[str] = json.loads(items)
    return listed[position] if 0 <= position < len(listed) else None


def _flags(column: pa.BooleanArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return a column as NumPy booleans, false for null."""
    flags: np.ndarray[tuple[int], np.dtype[np.bool_]] = pc.fill_null(column, False).to_numpy(zero_copy_only=False)
    return flags.astype(np.bool_)
