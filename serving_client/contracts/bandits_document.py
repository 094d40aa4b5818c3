"""Parse a bandits file's document into `Bandits`, with defaults filled in.

`serving_client.bandits_file` reads the YAML and checks it against the JSON Schema. This module makes the values
and asks `bandits_faults` for contradictions that a JSON Schema cannot express.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving_client.contracts.bandits import (
    Arm,
    Attribution,
    Bandit,
    Bandits,
    BanditsError,
    Cold,
    Feature,
    Holdback,
    Ramp,
    feature_width,
)
from serving_client.contracts.bandits_faults import bandit_faults
from serving_client.contracts.policies import DEFAULT_PRIORS, NO_PRIOR, policy_of
from serving_client.contracts.times import parse_duration, parse_time

__all__ = ["bandits_of"]


def bandits_of(document: Mapping[str, Any], where: str) -> Bandits:
    """Return the bandits of a document, with defaults filled in.

    Args:
        document: A document that the schema `bandits` accepts.
        where: Path of the file, for messages.

    Raises:
        BanditsError: A value is invalid, or two values contradict each other.
    """
    bandits = {}
    for bandit_id, entry in document["bandits"].items():
        try:
            bandit = _bandit(bandit_id, entry)
            fault = next(bandit_faults(bandit, entry.get("prior", {}), feature_width(bandit)), None)
        except ValueError as error:  # for example 31 February, which the schema's pattern accepts
            raise BanditsError(f"{where}: {bandit_id}: {error}") from error
        if fault is not None:
            raise BanditsError(f"{where}: {bandit_id}.{fault}")
        bandits[bandit_id] = bandit
    return Bandits(bandits)


def _bandit(bandit_id: str, entry: Mapping[str, Any]) -> Bandit:
    policy = policy_of(entry["policy"])
    return Bandit(
        bandit_id=bandit_id,
        policy_epoch=int(entry["policy_epoch"]),  # JSON Schema accepts 1.0 as an integer
        default_arm=entry["default_arm"],
        arms={arm_id: _arm(arm_id, arm) for arm_id, arm in entry["arms"].items()},
        policy=policy,
        attribution=_attribution(entry["attribution"]),
        prior=_priors(policy["kind"], entry),
        segments=tuple(entry.get("segments", ())),
        half_lives={text: parse_duration(text) for text in entry.get("half_lives", ())},
        features=tuple(_feature(feature) for feature in entry.get("features", ())),
        max_segments=int(entry.get("max_segments", 1_000)),
        hours_kept=int(entry.get("hours_kept", 168)),
        retain_generations_us=parse_duration(entry.get("retain_generations", "30d")),
        guardrails=tuple({"arm": "*", "alpha": 0.01, "min_n": 100, **each} for each in entry.get("guardrails", ())),
        sticky=entry.get("sticky", False),
        salt=entry.get("salt", bandit_id),
        staleness={
            name: parse_duration(text)
            for name, text in ({"fresh": "2m", "hard": "1h"} | entry.get("staleness", {})).items()
        },
        shrinkage={"min_n": 0} | entry.get("shrinkage", {}),
        prior_from={name: arm["prior_from"] for name, arm in entry["arms"].items() if "prior_from" in arm},
        cold=_cold(entry.get("cold", {})),
        holdback=_holdback(entry["holdback"]) if "holdback" in entry else None,
    )


def _arm(arm_id: str, entry: Mapping[str, Any]) -> Arm:
    ramp = None
    if "ramp" in entry:
        steps = tuple((parse_duration(step["after"]), float(step["share"])) for step in entry["ramp"]["steps"])
        ramp = Ramp(parse_time(entry["ramp"]["started_at"]), steps)
    label, state = entry.get("version_label"), entry.get("state", "active")
    return Arm(arm_id, int(entry["generation"]), entry["model"], label, state, ramp, entry.get("attributes", {}))


def _cold(entry: Mapping[str, Any]) -> Cold:
    default = Cold()
    return Cold(int(entry.get("min_n", default.min_n)), float(entry.get("share", default.share)))


def _holdback(entry: Mapping[str, Any]) -> Holdback:
    return Holdback(float(entry["share"]), entry["arm"])


def _attribution(entry: Mapping[str, Any]) -> Attribution:
    return Attribution(
        window_us=parse_duration(entry["window"]),
        allowed_lateness_us=parse_duration(entry["allowed_lateness"]),
        max_future_us=parse_duration(entry.get("max_future", "60s")),
        aggregate=entry.get("aggregate", "any"),
        denominator=entry.get("denominator", "decisions"),
        reward_kinds=tuple(entry.get("reward_kinds", ("click",))),
    )


def _priors(kind: str, entry: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    if kind in NO_PRIOR:
        return {}
    written = entry.get("prior", {})
    pairs = {arm_id: written.get(arm_id, DEFAULT_PRIORS[kind]) for arm_id in entry["arms"]}
    return {arm_id: (float(first), float(second)) for arm_id, (first, second) in pairs.items()}


def _feature(entry: Mapping[str, Any]) -> Feature:
    numeric = entry["type"] == "numeric"
    return Feature(
        name=entry["name"],
        type=entry["type"],
        source=entry.get("from", "user"),
        buckets=int(entry["buckets"]) if "buckets" in entry else None,
        scale=float(entry.get("scale", 1)) if numeric else None,
        max=float(entry["max"]) if "max" in entry else None,
    )
