"""What a bandits file says: the bandits, their arms and the rules by which decisions and rewards are counted.

Values only. `bandits_of` makes them from the parsed file and has `bandits_faults` find what a JSON Schema cannot say;
reading YAML and checking against the schema is `transforms.bandits_file`'s business. The hashes say when two bandits
count, or decide, alike.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

from serving_client.contracts.bandits_faults import bandit_faults
from serving_client.contracts.canonical import canonical_json
from serving_client.contracts.policies import DEFAULT_PRIORS, NO_PRIOR, policy_of
from serving_client.contracts.times import format_duration, parse_duration, parse_time

__all__ = [
    "Arm",
    "Attribution",
    "Bandit",
    "Bandits",
    "BanditsError",
    "Feature",
    "Ramp",
    "attribution_key",
    "bandits_of",
    "check_disorder",
    "config_hash",
    "feature_schema",
    "feature_width",
]


class BanditsError(ValueError):
    """A bandits file contradicts itself; the message is a sentence that says where and what to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ramp:
    """A canary's schedule. steps: (microseconds after the start, largest share from then on), ascending."""

    started_at_us: int
    steps: tuple[tuple[int, float], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Arm:
    """One option. state: active, draining or retired. generation: which treatment the name stands for."""

    arm_id: str
    generation: int
    model: str
    version_label: str | None = None
    state: str = "active"
    ramp: Ramp | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Attribution:
    """How rewards are joined to decisions; durations in microseconds."""

    window_us: int
    allowed_lateness_us: int
    max_future_us: int = 60_000_000
    aggregate: str = "any"
    denominator: str = "decisions"
    reward_kinds: tuple[str, ...] = ("click",)


@dataclasses.dataclass(frozen=True, slots=True)
class Feature:
    """One entry of `features`; source is the file's `from`: user, model or item.

    How a router writes it into a decision's vector, in the file's order and without an intercept (one that is wanted is
    a feature of type bool that is always true): numeric, one number, value / scale cut to [-max, max]; bool, 0 or 1;
    categorical, `buckets` numbers, all 0 but a 1 in the value's bucket. A missing value is 0 throughout.
    """

    name: str
    type: str
    source: str
    buckets: int | None = None
    scale: float | None = None
    max: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Bandit:
    """One bandit. arms: by id, in the file's order. half_lives: as written ("1h") and in microseconds.

    policy, guardrails: as in the file, defaults filled in. prior: of every arm, empty for kinds without. prior_from: by
    arm, the earlier generation and the weight. staleness: `fresh` and `hard` in microseconds.
    """

    bandit_id: str
    policy_epoch: int
    default_arm: str
    arms: Mapping[str, Arm]
    policy: Mapping[str, Any]
    attribution: Attribution
    prior: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    segments: tuple[str, ...] = ()
    half_lives: Mapping[str, int] = dataclasses.field(default_factory=dict)
    features: tuple[Feature, ...] = ()
    max_segments: int = 1_000
    hours_kept: int = 168
    retain_generations_us: int = 30 * 86_400_000_000
    guardrails: tuple[Mapping[str, Any], ...] = ()
    sticky: bool = False
    salt: str = ""
    staleness: Mapping[str, int] = dataclasses.field(default_factory=dict)
    shrinkage: Mapping[str, int] = dataclasses.field(default_factory=dict)
    prior_from: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Bandits:
    """A whole file, by bandit id."""

    bandits: Mapping[str, Bandit]


def bandits_of(document: Mapping[str, Any], where: str) -> Bandits:
    """The bandits of a document that the schema `bandits` accepts, defaults filled in.

    where: the file, for messages. Raises BanditsError for what contradicts itself.
    """
    bandits = {}
    for bandit_id, entry in document["bandits"].items():
        try:
            bandit = _bandit(bandit_id, entry)
            fault = next(bandit_faults(bandit, entry.get("prior", {}), feature_width(bandit)), None)
        except ValueError as error:  # a time such as 31 February, which the schema's pattern lets through
            raise BanditsError(f"{where}: {bandit_id}: {error}") from error
        if fault is not None:
            raise BanditsError(f"{where}: {bandit_id}.{fault}")
        bandits[bandit_id] = bandit
    return Bandits(bandits)


def check_disorder(bandits: Bandits, max_disorder_us: int) -> None:
    """Raise BanditsError if a bandit calls late what --max_disorder, in microseconds, promises to wait for."""
    for bandit in bandits.bandits.values():
        lateness_us = bandit.attribution.allowed_lateness_us
        if lateness_us < max_disorder_us:
            raise BanditsError(
                f"{bandit.bandit_id}.attribution.allowed_lateness {format_duration(lateness_us)} is less than "
                f"--max_disorder {format_duration(max_disorder_us)}; raise the one or lower the other"
            )


def attribution_key(bandit: Bandit) -> dict[str, Any]:
    """By which rules statistics are counted, as JSON: with another value under any key they could not be added up."""
    rules = bandit.attribution
    return {
        "window": format_duration(rules.window_us),
        "allowed_lateness": format_duration(rules.allowed_lateness_us),
        "max_future": format_duration(rules.max_future_us),
        "aggregate": rules.aggregate,
        "denominator": rules.denominator,
        "reward_kinds": sorted(rules.reward_kinds),
        "segments": list(bandit.segments),
        "max_segments": bandit.max_segments,
        "half_lives": sorted(bandit.half_lives),
        "hours_kept": bandit.hours_kept,
        "features": [dataclasses.asdict(feature) for feature in bandit.features],
    }


def config_hash(bandit: Bandit) -> str:
    """The SHA-256, in hex, of all that the file says of a bandit; a default that is written out changes nothing."""
    return hashlib.sha256(canonical_json(_alike(dataclasses.asdict(bandit)))).hexdigest()


def feature_schema(bandit: Bandit) -> str:
    """16 hex digits that name the meaning of each number of a decision's `features`: of a hash over the features."""
    features = [dataclasses.asdict(feature) for feature in bandit.features]
    return hashlib.sha256(canonical_json(features)).hexdigest()[:16]


def feature_width(bandit: Bandit) -> int:
    """d, how many numbers a decision's `features` has: one per numeric or bool feature, `buckets` per categorical."""
    return sum(feature.buckets or 1 for feature in bandit.features)


def _bandit(bandit_id: str, entry: Mapping[str, Any]) -> Bandit:
    policy = policy_of(entry["policy"])
    return Bandit(
        bandit_id=bandit_id,
        policy_epoch=int(entry["policy_epoch"]),  # 1.0 is an integer to JSON Schema
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
    )


def _arm(arm_id: str, entry: Mapping[str, Any]) -> Arm:
    ramp = None
    if "ramp" in entry:
        steps = tuple((parse_duration(step["after"]), float(step["share"])) for step in entry["ramp"]["steps"])
        ramp = Ramp(parse_time(entry["ramp"]["started_at"]), steps)
    label, state = entry.get("version_label"), entry.get("state", "active")
    return Arm(arm_id, int(entry["generation"]), entry["model"], label, state, ramp)


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


def _alike(value: Any) -> Any:
    """1.0 as 1, which a YAML file may write either way."""
    if isinstance(value, Mapping):
        return {name: _alike(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_alike(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
