"""The types of a decision and a reward: which fields a record has, and which values each field accepts.

`decision_id` of `Decision` and its like are the contract of the logs. The JSON Schemas in
`serving_client.contracts.schemas` state the same contract for other programs. Three rules cannot be written as a type:
an id has at most 1,024 bytes of UTF-8 and no NUL, CR or LF, a time names a moment, and a reward's value has at most six
decimal places. `lines` checks them.

The fields are in the order of the JSON Schemas, because the rank of a record depends on that order (see `ranks`).
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Raw, Struct

from serving_client.contracts.ids import MOST_ID_BYTES

__all__ = ["NESTED", "Decision", "Id", "Integer", "Reward"]

Id = Annotated[str, Meta(min_length=1, max_length=MOST_ID_BYTES)]
Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Feature = Annotated[float, Meta(ge=-(2**20), le=2**20)]
"""In units of 2^-10 a feature fits 32 bits, and a sum of products of features stays an exact integer."""
Value = Annotated[float, Meta(ge=-(10**9), le=10**9)]

NULL = Raw(b"null")

NESTED: dict[str, Any] = {
    "propensities": dict[str, float] | None,
    "eligible_arms": list[Id] | None,
    "context": dict[str, Any] | None,
    "items": list[Id] | None,
}
"""Types of the fields that `Decision` keeps as JSON.

Only the rank depends on these values, and many lines repeat them, so each distinct text is decoded once. Decoding them
with each line takes another 1.1 microseconds.
"""


class Decision(Struct, frozen=True, gc=False):
    """One choice of a router. None and null are the same as an absent field."""

    decision_id: Id
    bandit_id: Id
    policy_epoch: Integer
    segment: Id
    arm_id: Id
    arm_generation: Integer
    propensity: Probability
    decided_at: str
    propensities: Raw = NULL
    eligible_arms: Raw = NULL
    draw: float | None = None
    rung: str | None = None
    snapshot_version: Integer | None = None
    config_hash: str | None = None
    served_by: Id | None = None
    fallback_reason: str | None = None
    model_version: Integer | str | None = None
    context: Raw = NULL
    features: list[Feature] | None = None
    feature_schema: str | None = None
    items: Raw = NULL
    user_key: Id | None = None
    bot: bool | None = None
    holdback: bool | None = None
    received_at: str | None = None


class Reward(Struct, frozen=True, gc=False):
    """One event that a decision led to. None and null are the same as an absent field."""

    event_id: Id
    decision_id: Id
    kind: Id
    value: Value
    occurred_at: str
    item_id: Id | None = None
    position: Integer | None = None
    received_at: str | None = None
