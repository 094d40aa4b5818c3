"""Read the fields of records that the join itself does not use, as Arrow columns beside the parsed ones.

`parsing.records` has accepted the lines before. A field that a record lacks is null.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import pyarrow as pa
from msgspec import Raw, Struct

from transforms.attribution.parsing.columns import DecisionColumns, RewardColumns

__all__ = ["DECISION_DETAILS", "REWARD_DETAILS", "details_of"]

DECISION_DETAILS = pa.schema(
    [
        ("decision_id", pa.string()),
        ("user_key", pa.string()),
        ("served_by", pa.string()),
        ("rung", pa.string()),
        ("snapshot_version", pa.int64()),
        ("bot", pa.bool_()),
        ("holdback", pa.bool_()),
        ("propensities", pa.string()),
        ("eligible_arms", pa.string()),
        ("context", pa.string()),
        ("features", pa.list_(pa.float64())),
        ("feature_schema", pa.string()),
        ("items", pa.string()),
    ]
)
"""Lists and mappings are JSON texts, except features. Few readers look into them, and most decisions share some."""

REWARD_DETAILS = pa.schema([("item_id", pa.string()), ("position", pa.int64())])

_NULL = Raw(b"null")
_JSON = ("propensities", "eligible_arms", "context", "items")


class _Decision(Struct, gc=False):
    """The fields of DECISION_DETAILS, in its order."""

    decision_id: str
    user_key: str | None = None
    served_by: str | None = None
    rung: str | None = None
    snapshot_version: int | None = None
    bot: bool | None = None
    holdback: bool | None = None
    propensities: Raw = _NULL
    eligible_arms: Raw = _NULL
    context: Raw = _NULL
    features: list[float] | None = None
    feature_schema: str | None = None
    items: Raw = _NULL


class _Reward(Struct, gc=False):
    """The fields of REWARD_DETAILS, in its order."""

    item_id: str | None = None
    position: int | None = None


_DECISIONS = msgspec.json.Decoder(_Decision)
_REWARDS = msgspec.json.Decoder(_Reward)


def details_of(columns: DecisionColumns | RewardColumns) -> pa.RecordBatch:
    """Read the details of parsed records.

    Args:
        columns: The records [n].

    Returns:
        DECISION_DETAILS or REWARD_DETAILS, [n] rows in the same order.
    """
    if isinstance(columns, DecisionColumns):
        return _batch([_read(_DECISIONS, columns.original(row)) for row in range(len(columns))], DECISION_DETAILS)
    return _batch([_read(_REWARDS, columns.original(row)) for row in range(len(columns))], REWARD_DETAILS)


def _batch(records: Sequence[_Decision | _Reward], schema: pa.Schema) -> pa.RecordBatch:
    columns = []
    for field in schema:
        values = [getattr(record, field.name) for record in records]
        if field.name in _JSON:
            texts = [bytes(value) for value in values]
            values = [None if text == b"null" else text.decode() for text in texts]
        columns.append(pa.array(values, field.type))
    return pa.record_batch(columns, schema)


def _read(decoder: msgspec.json.Decoder[_Decision] | msgspec.json.Decoder[_Reward], line: bytes) -> _Decision | _Reward:
    try:
        return decoder.decode(line)
    except msgspec.MsgspecError:  # it also checks a value that a later one with the same key replaces
        fields = json.loads(line)
        known = {name: fields[name] for name in decoder.type.__struct_fields__ if name in fields}
        return decoder.decode(msgspec.json.encode(known))
