"""What a bandits file says: the bandits, their arms and the rules by which decisions and rewards are counted.

Values only. `bandits_document.bandits_of` makes them from a parsed document, and `transforms.attribution.bandits_file`
reads the YAML. The hashes here tell whether two bandits count, or decide, alike.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

from serving_client.contracts.canonical import canonical_json
from serving_client.contracts.times import format_duration

__all__ = [
    "Arm",
    "Attribution",
    "Bandit",
    "Bandits",
    "BanditsError",
    "Feature",
    "Ramp",
    "attribution_key",
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
    """Return the SHA-256, in hex, of everything that the file sets for a bandit.

    Writing a default value into the file does not change it.
    """
    return hashlib.sha256(canonical_json(_alike(dataclasses.asdict(bandit)))).hexdigest()


def feature_schema(bandit: Bandit) -> str:
    """16 hex digits that name the meaning of each number of a decision's `features`: of a hash over the features."""
    features = [dataclasses.asdict(feature) for feature in bandit.features]
    return hashlib.sha256(canonical_json(features)).hexdigest()[:16]


def feature_width(bandit: Bandit) -> int:
    """d, how many numbers a decision's `features` has: one per numeric or bool feature, `buckets` per categorical."""
    return sum(feature.buckets or 1 for feature in bandit.features)


def _alike(value: Any) -> Any:
    """1.0 as 1, which a YAML file may write either way."""
    if isinstance(value, Mapping):
        return {name: _alike(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_alike(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
