"""Write decisions and rewards as the lines of their logs.

`serving_client.contracts.schemas` has the JSON Schemas of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from serving_client.contracts.times import format_time

__all__ = ["decision_line", "decision_part", "reward_line"]

_MOST_NESTED = 16
_MOST_INTEGER = 2**63


def decision_part(
    *,
    bandit_id: str,
    policy_epoch: int,
    segment: str,
    eligible_arms: Sequence[str],
    propensities: Mapping[str, float],
    snapshot_version: int | None = None,
    config_hash: str | None = None,
    feature_schema: str | None = None,
) -> bytes:
    """Return the JSON of what many decisions have in common. A router keeps it beside its vector of probabilities.

    Args:
        bandit_id: Bandit that decides.
        policy_epoch: The bandit's policy epoch.
        segment: Values of the bandit's segment keys, as the snapshot's rows have them.
        eligible_arms: Arms that could have been drawn.
        propensities: Probability of each of these arms in the draw.
        snapshot_version: Snapshot that the probabilities come from. None without a snapshot.
        config_hash: Hash of the bandit's entry in the bandits file.
        feature_schema: Schema of the decision's features. None without features.
    """
    part: dict[str, Any] = {
        "bandit_id": bandit_id,
        "policy_epoch": policy_epoch,
        "segment": segment,
        "eligible_arms": list(eligible_arms),
        "propensities": dict(propensities),
        "snapshot_version": snapshot_version,
        "config_hash": config_hash,
        "feature_schema": feature_schema,
    }
    return _dumps({name: value for name, value in part.items() if value is not None})


def decision_line(
    part: bytes,
    *,
    decision_id: str,
    arm_id: str,
    arm_generation: int,
    propensity: float,
    decided_at_us: int,
    draw: float | None = None,
    rung: str | None = None,
    served_by: str | None = None,
    fallback_reason: str | None = None,
    model_version: int | str | None = None,
    context: Mapping[str, Any] | None = None,
    features: Any = None,
    items: Sequence[str] = (),
    user_key: str | None = None,
    bot: bool = False,
    holdback: bool = False,
) -> bytes:
    """Return a line of the decision log.

    Args:
        part: Result of `decision_part`.
        decision_id: Id of the decision, signed or not.
        arm_id: Arm that was drawn.
        arm_generation: Generation of that arm.
        propensity: Probability of that arm in the draw.
        decided_at_us: Time of the decision, microseconds since 1970.
        draw: The random number in [0, 1).
        rung: Staleness of the snapshot: "fresh", "last_good", "disk" or "default".
        served_by: What was shown. None stands for the drawn arm.
        fallback_reason: Why another arm was shown.
        model_version: Version of the model that answered.
        context: Declared keys of the request's context. A value that JSON cannot express is written as text.
        features: Features of the drawn arm, float64 [width].
        items: Items that were shown, best first.
        user_key: The user's key.
        bot: Whether the request comes from a bot.
        holdback: Whether the user belongs to the holdback.
    """
    rest: dict[str, Any] = {
        "decision_id": decision_id,
        "arm_id": arm_id,
        "arm_generation": arm_generation,
        "propensity": propensity,
        "decided_at": format_time(decided_at_us),
    }
    if draw is not None:
        rest["draw"] = draw
    if rung is not None:
        rest["rung"] = rung
    if served_by is not None:
        rest["served_by"] = served_by
    if fallback_reason is not None:
        rest["fallback_reason"] = fallback_reason
    if model_version is not None:
        rest["model_version"] = model_version
    if context:
        rest["context"] = context
    if features is not None:
        rest["features"] = features
    if user_key is not None:
        rest["user_key"] = user_key
    if items:
        rest["items"] = list(items)
    if bot:
        rest["bot"] = True
    if holdback:
        rest["holdback"] = True
    return b"%b,%b\n" % (part[:-1], _dumps(rest)[1:])


def reward_line(
    *,
    event_id: str,
    decision_id: str,
    kind: str,
    value: float,
    occurred_at_us: int,
    received_at_us: int,
    item_id: str | None = None,
    position: int | None = None,
) -> bytes:
    """Return a line of the reward log.

    Args:
        event_id: Identity of the event within its decision.
        decision_id: Decision that led to the event.
        kind: Such as "click".
        value: Finite, at most six decimal places.
        occurred_at_us: Time of the event, microseconds since 1970.
        received_at_us: Time at which the event arrived here, microseconds since 1970.
        item_id: Item of the event.
        position: The item's place in the list.
    """
    record: dict[str, Any] = {
        "event_id": event_id,
        "decision_id": decision_id,
        "kind": kind,
        "value": value,
        "occurred_at": format_time(occurred_at_us),
        "received_at": format_time(received_at_us),
    }
    if item_id is not None:
        record["item_id"] = item_id
    if position is not None:
        record["position"] = position
    return _dumps(record) + b"\n"


def _dumps(record: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:  # orjson.JSONEncodeError: a request's context holds something else than JSON
        return orjson.dumps(_plain(record, _MOST_NESTED))


def _plain(value: Any, levels: int) -> Any:
    """Return the value in a form that JSON can express and that the readers accept.

    Args:
        value: Any value.
        levels: How many lists and objects may lie inside each other. Deeper ones become "…".
    """
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -_MOST_INTEGER <= value < _MOST_INTEGER else str(value)
    if isinstance(value, Mapping | list | tuple | set | frozenset) and not levels:
        return "…"
    if isinstance(value, Mapping):
        return {_text(key): _plain(each, levels - 1) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each, levels - 1) for each in value]
    return _plain(value.tolist(), levels) if isinstance(value, np.ndarray | np.generic) else _text(value)


def _text(value: Any) -> str:
    try:
        return str(value).encode(errors="backslashreplace").decode()
    except Exception:  # whatever the value's own __str__ raises
        return type(value).__name__
