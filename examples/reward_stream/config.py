"""The counting rules of a bandits file (parsed YAML), with defaults filled in. Times are in microseconds."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

from examples.reward_stream.records import canonical

__all__ = ["Config", "configs", "duration_us"]

_UNITS_US = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


@dataclasses.dataclass(frozen=True)
class Config:
    """One bandit. arms: generation by id. half_lives: by the text of the file. schema, d: "" and 0 without features."""

    bandit_id: str
    policy_epoch: int
    arms: dict[str, int]
    active: frozenset[str]
    window_us: int
    lateness_us: int
    future_us: int
    aggregate: str
    impressions: bool
    kinds: tuple[str, ...]
    segments: tuple[str, ...]
    max_segments: int
    half_lives: dict[str, int]
    hours_kept: int
    retain_us: int
    features: list[dict[str, Any]]
    schema: str
    d: int
    sticky: bool
    guarded: bool


def duration_us(text: str) -> int:
    """`500ms`, `20s`, `30m`, `1.5h`, `7d` in microseconds. Raises ValueError for anything else."""
    for unit in sorted(_UNITS_US, key=len, reverse=True):
        if text.endswith(unit):
            return round(float(text.removesuffix(unit)) * _UNITS_US[unit])
    raise ValueError(f"{text!r} is no duration such as 30m")


def configs(document: Mapping[str, Any]) -> dict[str, Config]:
    """All bandits of a file, by id."""
    return {bandit_id: _config(bandit_id, entry) for bandit_id, entry in document["bandits"].items()}


def _config(bandit_id: str, entry: Mapping[str, Any]) -> Config:
    attribution = entry["attribution"]
    features = [_feature(each) for each in entry.get("features", ())]
    return Config(
        bandit_id=bandit_id,
        policy_epoch=entry["policy_epoch"],
        arms={arm: each["generation"] for arm, each in entry["arms"].items()},
        active=frozenset(arm for arm, each in entry["arms"].items() if each.get("state", "active") == "active"),
        window_us=duration_us(attribution["window"]),
        lateness_us=duration_us(attribution["allowed_lateness"]),
        future_us=duration_us(attribution.get("max_future", "60s")),
        aggregate=attribution.get("aggregate", "any"),
        impressions=attribution.get("denominator", "decisions") == "impressions",
        kinds=tuple(attribution.get("reward_kinds", ("click",))),
        segments=tuple(entry.get("segments", ())),
        max_segments=entry.get("max_segments", 1000),
        half_lives={text: duration_us(text) for text in entry.get("half_lives", ())},
        hours_kept=entry.get("hours_kept", 168),
        retain_us=duration_us(entry.get("retain_generations", "30d")),
        features=features,
        schema=hashlib.sha256(canonical(features)).hexdigest()[:16] if features else "",
        d=sum(each.get("width", 1) for each in features),
        sticky=entry.get("sticky", False),
        guarded=bool(entry.get("guardrails")),
    )


def _feature(entry: Mapping[str, Any]) -> dict[str, Any]:
    """All keys of a feature, as the hash that names a schema is taken over them; a category has a width, too."""
    numeric = entry["type"] == "numeric"
    width = {"width": entry["buckets"] + 1} if entry["type"] == "categorical" else {}
    return {
        "name": entry["name"],
        "type": entry["type"],
        "source": entry.get("from", "user"),
        "buckets": entry.get("buckets"),
        "scale": float(entry.get("scale", 1)) if numeric else None,
        "max": float(entry["max"]) if "max" in entry else None,
        **width,
    }
