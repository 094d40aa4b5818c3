"""The content of a bandits file: bandits, their arms, and the rules for counting decisions and rewards.

`bandits_document.bandits_of` makes these values from a parsed document. `serving_client.bandits_file` reads the YAML.
Two bandits with equal hashes count, or decide, in the same way.
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
    "Cold",
    "Feature",
    "Holdback",
    "Ramp",
    "attribution_key",
    "check_disorder",
    "config_hash",
    "feature_schema",
    "feature_width",
]


class BanditsError(ValueError):
    """A bandits file is invalid. The message names the place and says what to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ramp:
    """A canary's schedule.

    Args:
        started_at_us: Start in microseconds since 1970.
        steps: Pairs of microseconds after the start and largest share from then on, ascending.
    """

    started_at_us: int
    steps: tuple[tuple[int, float], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Arm:
    """One arm of a bandit.

    Args:
        arm_id: Name of the arm.
        generation: Number of the treatment that the name stands for.
        model: Served model of the arm.
        version_label: Label of the model's version. None calls the newest version.
        state: "active", "draining" or "retired".
        ramp: Schedule of a canary, or None.
        attributes: Values of the features with `from: model`, by name of the feature.
    """

    arm_id: str
    generation: int
    model: str
    version_label: str | None = None
    state: str = "active"
    ramp: Ramp | None = None
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Cold:
    """The cap on a new arm. A prior alone could give an arm most of the traffic before its first reward counts.

    Args:
        min_n: An arm is cold while its current generation has fewer matured decisions and another arm has more.
        share: Largest probability of a cold arm. 1 switches the cap off.
    """

    min_n: int = 500
    share: float = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class Holdback:
    """A share of users who always get one arm. Their decisions never move the policy.

    Args:
        share: Share of users, by a hash of the user's key.
        arm: The arm that these users get.
    """

    share: float
    arm: str


@dataclasses.dataclass(frozen=True, slots=True)
class Attribution:
    """How rewards are joined to decisions. Durations are in microseconds."""

    window_us: int
    allowed_lateness_us: int
    max_future_us: int = 60_000_000
    aggregate: str = "any"
    denominator: str = "decisions"
    reward_kinds: tuple[str, ...] = ("click",)


@dataclasses.dataclass(frozen=True, slots=True)
class Feature:
    """One entry of `features`.

    `serving_client.features` writes the features into a decision's vector, in the file's order:

        numeric        one number: value / scale, limited to [-max, max]. 0 for an unknown or missing value
        bool           1 for true, 0 for all else
        categorical    `buckets` + 1 numbers: 1 at the value's bucket, 0 elsewhere. The last bucket belongs to unknown
                       and missing values

    There is no intercept. For one, add a bool feature with `from: model` that every arm's attributes set to true.

    Args:
        name: Name of the feature.
        type: "numeric", "bool" or "categorical".
        source: The file's `from`: "user", "model" or "item".
        buckets: Number of buckets of a categorical feature, without the bucket of unknown and missing values.
        scale: Divisor of a numeric feature.
        max: Limit of a numeric feature.
    """

    name: str
    type: str
    source: str
    buckets: int | None = None
    scale: float | None = None
    max: float | None = None

    @property
    def width(self) -> int:
        """Number of places in the vector."""
        return 1 if self.buckets is None else self.buckets + 1


@dataclasses.dataclass(frozen=True, slots=True)
class Bandit:
    """One bandit, with defaults filled in. Fields that are not listed are as in the file.

    Args:
        arms: Arms by id, in the file's order.
        half_lives: Microseconds by the half-life as written, for example "1h".
        prior: Prior of every arm. Empty for a kind of policy without priors.
        prior_from: Earlier generation and weight by arm.
        retain_generations_us: Microseconds for which statistics of earlier generations are kept.
        staleness: Microseconds of `fresh` and `hard`.
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
    cold: Cold = Cold()
    holdback: Holdback | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Bandits:
    """All bandits of a file, by id."""

    bandits: Mapping[str, Bandit]


def check_disorder(bandits: Bandits, max_disorder_us: int) -> None:
    """Raise BanditsError if a bandit's allowed_lateness is less than --max_disorder, in microseconds."""
    for bandit in bandits.bandits.values():
        lateness_us = bandit.attribution.allowed_lateness_us
        if lateness_us < max_disorder_us:
            raise BanditsError(
                f"{bandit.bandit_id}.attribution.allowed_lateness {format_duration(lateness_us)} is less than "
                f"--max_disorder {format_duration(max_disorder_us)}; raise allowed_lateness or lower --max_disorder"
            )


def attribution_key(bandit: Bandit) -> dict[str, Any]:
    """Return the rules of counting as JSON. Statistics can be added only if all values are equal."""
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
        "features": _feature_documents(bandit),
    }


def config_hash(bandit: Bandit) -> str:
    """Return the SHA-256, in hex, of everything that the file sets for a bandit.

    Writing a default value into the file does not change it.
    """
    return hashlib.sha256(canonical_json(_alike(dataclasses.asdict(bandit)))).hexdigest()


def feature_schema(bandit: Bandit) -> str:
    """Return 16 hex digits of a hash over the features. Equal digits mean that the numbers have the same meaning."""
    return hashlib.sha256(canonical_json(_feature_documents(bandit))).hexdigest()[:16]


def feature_width(bandit: Bandit) -> int:
    """Return the length of a decision's `features`, which is the sum of their widths."""
    return sum(feature.width for feature in bandit.features)


def _feature_documents(bandit: Bandit) -> list[dict[str, Any]]:
    """Return the features as JSON.

    A categorical feature names its width, because its vector once had no place for a missing value. Statistics of such
    vectors must not be added to others.
    """
    return [
        dataclasses.asdict(feature) | ({} if feature.buckets is None else {"width": feature.width})
        for feature in bandit.features
    ]


def _alike(value: Any) -> Any:
    """Return the value with 1.0 as 1, because a YAML file may contain either."""
    if isinstance(value, Mapping):
        return {name: _alike(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_alike(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
