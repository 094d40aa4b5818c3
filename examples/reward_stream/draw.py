"""Draw the events of the generated world: decisions and their rewards as columns, one part of the time at once.

Arms follow the logged propensities, reward rates change with time, delays depend on the arm, and clocks disagree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from examples.reward_stream.templates import PLACES, Templates
from examples.reward_stream.world import VALUES, VECTORS, Knobs, Stage

__all__ = ["Decisions", "Rewards", "draw_decisions", "draw_rewards"]

Int64s = npt.NDArray[np.int64]

_USERS = 20_000
_VECTOR_US = 10_000_000  # how long a router keeps to one vector
_PERIOD_US = 600_000_000  # of the wandering rates
_LEAST_US = 20_000  # from an event to its place in the log
_MIX = 0x9E3779B97F4A7C15  # odd, so that numbers times this stay distinct modulo 2^64


@dataclasses.dataclass(frozen=True, eq=False)
class Decisions:
    """Columns [n]: id, times, index of the bandit and of the drawn arm, number of the template, draw in 1/1,000,000."""

    ids: npt.NDArray[np.uint64]
    at_us: Int64s
    arrival_us: Int64s
    bandit: Int64s
    arm: Int64s
    template: Int64s
    draw: Int64s
    user: Int64s
    vectors: dict[int, npt.NDArray[np.float64]]
    """By bandit: the feature vectors of its rows, in their order."""


@dataclasses.dataclass(frozen=True, eq=False)
class Rewards:
    """Columns [m], by decision: row of the decision, number within it, kind (in `kinds`), value (in VALUES), times.

    tied: happened in the same microsecond as the one before.
    """

    kinds: list[str]
    decision: Int64s
    ordinal: Int64s
    kind: Int64s
    value: Int64s
    at_us: Int64s
    arrival_us: Int64s
    tied: npt.NDArray[np.bool_]


def draw_decisions(
    rng: np.random.Generator,
    knobs: Knobs,
    stages: Sequence[Stage],
    templates: Templates,
    first: int,
    at_us: Int64s,
    disorder_us: int,
    seed: int,
) -> Decisions:
    """Decisions number first, first + 1, … at these times [n]."""
    n = len(at_us)
    bandit = rng.integers(0, len(stages), n)
    user = rng.integers(0, _USERS, n)
    draw = rng.integers(0, 1_000_000, n)
    vector = at_us // _VECTOR_US % VECTORS
    arm, segment, served = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    place = _places(rng, knobs, n)
    failed = rng.random(n) < knobs.failures
    held = (user * 7_927 % _USERS < knobs.holdback * _USERS).astype(np.int64)
    vectors = {}
    for number, stage in enumerate(stages):
        mine = np.flatnonzero(bandit == number)
        if stage.config.sticky:  # one user, one draw, one vector: one arm
            vector[mine] = 0
            draw[mine] = user[mine] * 7_919 % 1_000_000
        edges = stage.vectors.cumsum(axis=1)[vector[mine]] * 100
        arm[mine] = (draw[mine, None] >= edges).sum(axis=1)
        arm[mine[held[mine] > 0]] = 0
        segment[mine] = user[mine] % len(stage.segments)
        others = (arm[mine] + 1) % len(stage.arms)
        served[mine] = np.where(failed[mine], others, arm[mine])
        generations = np.array([stage.config.arms[each] for each in stage.arms])
        none_older = (generations[arm[mine]] < 2) & (place[mine] == PLACES.index("old_generation"))
        place[mine[none_older]] = 0
        if stage.config.features:
            vectors[number] = _vectors(rng, stage, len(mine))
    bot = (rng.random(n) < knobs.bots).astype(np.int64)
    template = templates.numbers(bandit, vector, arm, place, segment, served, bot, held)
    ids = (np.arange(first, first + n, dtype=np.uint64) + np.uint64(seed << 40)) * np.uint64(_MIX)
    arrival_us = at_us + _latency_us(rng, n, disorder_us)
    return Decisions(ids, at_us, arrival_us, bandit, arm, template, draw, user, vectors)


def draw_rewards(
    rng: np.random.Generator,
    knobs: Knobs,
    stages: Sequence[Stage],
    decisions: Decisions,
    per_decision: float,
    disorder_us: int,
) -> Rewards:
    """Draw the rewards of these decisions."""
    kinds = sorted({kind for stage in stages for kind in stage.kinds})
    phase = decisions.at_us / _PERIOD_US + decisions.arm * 0.37 + decisions.bandit * 0.11
    rate = per_decision * (1 + 0.2 * (decisions.arm % 3 - 1)) * (1 + 0.4 * np.sin(2 * np.pi * phase))
    counts = rng.poisson(rate)
    decision = np.repeat(np.arange(len(counts)), counts)
    m = len(decision)
    ordinal = np.arange(m) - np.repeat(counts.cumsum() - counts, counts)
    kind, delay = np.zeros(m, np.int64), np.zeros(m, np.int64)
    fates = rng.random(m)
    for number, stage in enumerate(stages):
        mine = np.flatnonzero(decisions.bandit[decision] == number)
        own = np.array([kinds.index(each) for each in stage.kinds])
        kind[mine] = own[np.searchsorted(stage.chances.cumsum()[:-1], rng.random(len(mine)), side="right")]
        mean = np.where(kind[mine] == kinds.index("impression"), 1e6, stage.delays_us[decisions.arm[decision[mine]]])
        # Beyond half the allowed lateness the decision may be forgotten: an orphan in one order, too late in another.
        most = stage.config.window_us + rng.integers(0, stage.config.lateness_us // 2 + 1, len(mine))
        delay[mine] = np.minimum(rng.exponential(mean), most).astype(np.int64)
        _skew(rng, knobs, stage, fates, mine, delay)
    value = rng.choice(len(VALUES), m, p=np.array([each[2] for each in VALUES]) / sum(each[2] for each in VALUES))
    at_us = decisions.at_us[decision] + delay
    tied = (ordinal > 0) & (rng.random(m) < knobs.tied_rewards)
    at_us[tied] = at_us[np.flatnonzero(tied) - 1]
    seen_us = np.maximum(at_us, decisions.at_us[decision])
    return Rewards(kinds, decision, ordinal, kind, value, at_us, seen_us + _latency_us(rng, m, disorder_us), tied)


def _places(rng: np.random.Generator, knobs: Knobs, n: int) -> Int64s:
    chances = [
        knobs.old_generations, knobs.unknown_generations, knobs.old_epochs, knobs.unknown_epochs,
        knobs.unknown_arms, knobs.unknown_bandits,
    ]  # fmt: skip
    edges = np.cumsum([1 - sum(chances), *chances[:-1]])
    return np.searchsorted(edges, rng.random(n), side="right")


def _vectors(rng: np.random.Generator, stage: Stage, n: int) -> npt.NDArray[np.float64]:
    """Draw a feature vector per row, [n, d]: numbers of three decimals, flags, and one-hot buckets."""
    columns = []
    for feature in stage.config.features:
        if feature["type"] == "categorical":
            columns.append(np.eye(feature["width"])[rng.integers(0, feature["width"], n)])
        elif feature["type"] == "bool":
            columns.append(rng.integers(0, 2, (n, 1)).astype(np.float64))
        else:
            most = min(feature["max"] or 1e6, 1e6)
            columns.append(np.clip(rng.normal(0, 2, (n, 1)).round(3), -most, most))
    return np.concatenate(columns, axis=1)


def _skew(
    rng: np.random.Generator, knobs: Knobs, stage: Stage, fates: npt.NDArray[np.float64], rows: Int64s, delay: Int64s
) -> None:
    """Rewards with a clock behind the decision's, within max_future and beyond, and rewards at the window's ends."""
    future_us, window_us = stage.config.future_us, stage.config.window_us
    edges = np.cumsum([knobs.skewed_rewards, knobs.far_skewed_rewards, knobs.edge_rewards])
    fate = np.searchsorted(edges, fates[rows], side="right")
    near, far, edge = (rows[fate == number] for number in range(3))
    delay[near] = -rng.integers(0, future_us + 1, len(near))
    delay[far] = -future_us - rng.integers(1, 3_000_000, len(far))
    delay[edge] = rng.choice([window_us, window_us + 1, -future_us, -future_us - 1], len(edge))
    delay[rows] = np.maximum(delay[rows], -(stage.config.lateness_us // 2))  # or it would be late itself


def _latency_us(rng: np.random.Generator, n: int, disorder_us: int) -> Int64s:
    """Mostly a tenth of a second; one record in ten comes anywhere within the disorder."""
    usual = _LEAST_US + rng.exponential(100_000, n)
    spread = rng.uniform(0, disorder_us, n)
    return np.minimum(np.where(rng.random(n) < 0.1, spread, usual), disorder_us).astype(np.int64)
