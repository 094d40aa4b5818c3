"""The made-up world: its bandits, how often each thing goes wrong, and what a bandits file's arms are like in it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from examples.reward_stream.config import Config, configs

__all__ = ["BANDITS", "VALUES", "VECTORS", "Knobs", "Stage", "stages"]

BANDITS = """\
bandits:
  home_row:
    policy_epoch: 3
    default_arm: cf
    arms:
      cf: {generation: 2, model: cf}
      vae: {generation: 3, model: vae}
      popular: {generation: 1, model: popular}
    policy: {kind: thompson_beta, floor: 0.02}
    attribution: {window: 20s, allowed_lateness: 40s, max_future: 5s, aggregate: any, reward_kinds: [click]}
    segments: [plan]
    half_lives: [1h, 24h]
  search_row:
    policy_epoch: 1
    default_arm: plain
    arms:
      plain: {generation: 1, model: plain}
      boosted: {generation: 2, model: boosted}
    policy: {kind: thompson_gaussian, floor: 0.05}
    attribution: {window: 10s, allowed_lateness: 40s, max_future: 2s, aggregate: first, reward_kinds: [click, rating]}
    half_lives: [10m]
  mail:
    policy_epoch: 2
    default_arm: short
    arms:
      short: {generation: 1, model: short}
      long: {generation: 1, model: long}
      old: {generation: 4, model: old, state: draining}
    policy: {kind: ucb1, floor: 0.1}
    attribution: {window: 20s, allowed_lateness: 30s, max_future: 5s, aggregate: sum, reward_kinds: [purchase, click]}
    segments: [country]
    sticky: true
  shelf:
    policy_epoch: 1
    default_arm: wide
    arms:
      wide: {generation: 1, model: wide}
      deep: {generation: 5, model: deep}
    policy: {kind: thompson_gaussian}
    attribution:
      {window: 15s, allowed_lateness: 40s, max_future: 5s, aggregate: max, denominator: impressions,
       reward_kinds: [click, rating]}
    half_lives: [1h]
  course_page:
    policy_epoch: 1
    default_arm: linear
    arms:
      linear: {generation: 1, model: linear}
      neural: {generation: 2, model: neural}
    policy: {kind: lints}
    attribution: {window: 20s, allowed_lateness: 40s, max_future: 5s, aggregate: any, reward_kinds: [click]}
    segments: [plan, country]
    half_lives: [1h]
    features:
      - {name: age, type: numeric, scale: 10, max: 4}
      - {name: returning, type: bool}
      - {name: topic, type: categorical, buckets: 3, from: item}
      - {name: score, type: numeric, max: 8, from: model}
"""

VALUES: tuple[tuple[str, int, float], ...] = (
    ("1", 1_000_000, 0.70),
    ("0", 0, 0.06),
    ("1.0", 1_000_000, 0.05),
    ("2.5", 2_500_000, 0.06),
    ("-0.5", -500_000, 0.05),
    ("3.141593", 3_141_593, 0.04),
    ("0.1", 100_000, 0.029),
    ("0.000001", 1, 0.01),
    ("1000000000", 10**15, 0.0005),
    ("-999999999.999999", -(10**15) + 1, 0.0005),
)
"""Values of rewards: as written, in millionths, and how often."""

VECTORS = 8
"""Propensity vectors that each bandit's router goes through."""


@dataclasses.dataclass(frozen=True)
class Knobs:
    """How often each thing happens, as a fraction of decisions (or of rewards where rewards are named)."""

    duplicate_decisions: float = 0.01
    duplicate_rewards: float = 0.02
    conflicting_decisions: float = 0.002
    conflicting_rewards: float = 0.004
    skewed_rewards: float = 0.01
    far_skewed_rewards: float = 0.003
    edge_rewards: float = 0.004
    tied_rewards: float = 0.01
    orphan_rewards: float = 0.003
    bots: float = 0.01
    failures: float = 0.02
    holdback: float = 0.05
    old_generations: float = 0.02
    unknown_generations: float = 0.001
    old_epochs: float = 0.002
    unknown_epochs: float = 0.001
    unknown_arms: float = 0.001
    unknown_bandits: float = 0.001
    zero_propensities: float = 0.0005
    odd_features: float = 0.02
    malformed: float = 0.0005
    future: float = 0.0005
    late: float = 0.0

    def clean(self) -> Knobs:
        """Without what lies outside the promise that stream equals batch, and without malformed lines."""
        none = ("conflicting_decisions", "conflicting_rewards", "malformed", "future", "late")
        return dataclasses.replace(self, **dict.fromkeys(none, 0.0))


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """What one bandit of the file is like. vectors: [VECTORS, arms] in 1/10,000, 0 for arms that are not active.

    segments: as a decision has it, and the context it came from. kinds, chances: of rewards. delays_us: mean by arm.
    """

    config: Config
    arms: list[str]
    vectors: npt.NDArray[np.int64]
    segments: list[tuple[str, dict[str, str]]]
    kinds: list[str]
    chances: npt.NDArray[np.float64]
    delays_us: npt.NDArray[np.float64]


_PLACES: Mapping[str, tuple[str, ...]] = {"plan": ("free", "pro", "team"), "country": ("de", "fr", "jp", "br")}
_DELAYS = (0.05, 0.15, 0.4, 0.8)  # of the window; at the last more than a quarter comes too late


def stages(document: Mapping[str, Any], rng: np.random.Generator) -> list[Stage]:
    """Return the bandits of a file as this world has them."""
    return [_stage(config, rng) for config in configs(document).values()]


def _stage(config: Config, rng: np.random.Generator) -> Stage:
    arms = list(config.arms)
    active = np.array([arm in config.active for arm in arms])
    vectors = np.zeros((VECTORS, len(arms)), np.int64)
    for vector in vectors:
        shares = rng.dirichlet(np.full(int(active.sum()), 2.0))
        least = min(500, 5_000 // len(shares))
        parts = (least + shares * (10_000 - least * len(shares))).astype(np.int64)
        parts[0] += 10_000 - parts.sum()
        vector[active] = parts
    beside = [kind for kind in ("hover", "impression") if kind not in config.kinds]
    kinds = [*config.kinds, *beside]
    weights = [3.0 / len(config.kinds)] * len(config.kinds) + [0.5 if config.impressions else 0.4] * len(beside)
    if config.impressions:
        weights[kinds.index("impression")] = 3.0
    chances = np.array(weights) / sum(weights)
    delays = np.array([_DELAYS[at % len(_DELAYS)] * config.window_us for at in range(len(arms))])
    return Stage(config, arms, vectors, _segments(config), kinds, chances, delays)


def _segments(config: Config) -> list[tuple[str, dict[str, str]]]:
    """Every combination of values, and one with the first value missing."""
    if not config.segments:
        return [("*", {})]
    values = [_PLACES.get(key, ("a", "b", "c")) for key in config.segments]
    values[0] = (*values[0], "?")
    return [
        ("|".join(each), {key: value for key, value in zip(config.segments, each, strict=True) if value != "?"})
        for each in itertools.product(*values)
    ]
