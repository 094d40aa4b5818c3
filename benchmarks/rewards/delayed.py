"""How much a Thompson sampler is misled by counting decisions before their rewards can have come.

Two arms, click rates p and exponential delays that differ by arm; Beta(1, 1) priors. `at_once` counts a decision when
it is made and its click when it comes, so the slow arm looks worse than it is. `matured` learns from the rows of our
join (fold and advance of transforms.attribution), where both enter when the window is over. A step is a second;
repetitions run side by side, as segments of one bandit. The policy reads statistics every `publish` steps.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from serving_client.contracts.bandits import Arm, Attribution, Bandit, Bandits
from transforms.attribution.block import Block, Decisions, Rewards, empty_block
from transforms.attribution.joining.fold import Shard, advance, fold
from transforms.attribution.rules import Label, Rules

__all__ = ["Scenario", "at_once", "matured"]

SECOND_US = 1_000_000
START_US = 1_700_000_000 * SECOND_US

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Scenario:
    """p, delays: by arm, the best one first; delays and window in steps."""

    p: tuple[float, float] = (0.10, 0.08)
    delays: tuple[float, float] = (3_000.0, 50.0)
    window: int = 10_000
    steps: int = 20_000
    repetitions: int = 100
    publish: int = 10

    def draw(self, arms: Int64s, step: int, rng: np.random.Generator) -> Int64s:
        """When each decision's click comes, -1 for never."""
        clicked = rng.random(len(arms)) < np.asarray(self.p)[arms]
        delay = np.ceil(rng.exponential(np.asarray(self.delays)[arms])).astype(np.int64)
        return np.where(clicked, step + delay, -1)


def at_once(scenario: Scenario, rng: np.random.Generator) -> Float64s:
    """The best arm's share of the decisions, [repetitions], where decisions count when they are made."""
    pulls = np.zeros((scenario.repetitions, 2))
    clicks = np.zeros_like(pulls)
    arriving: list[list[tuple[Int64s, Int64s]]] = [[] for _ in range(scenario.steps + 1)]
    everyone = np.arange(scenario.repetitions)
    for step in range(scenario.steps):
        for repetitions, arms in arriving[step]:
            np.add.at(clicks, (repetitions, arms), 1)
        arms = _choose(pulls, clicks, 1, rng)[0]
        pulls[everyone, arms] += 1
        comes = scenario.draw(arms, step, rng)
        for moment in np.unique(comes[(comes >= 0) & (comes <= min(step + scenario.window, scenario.steps))]).tolist():
            arriving[moment].append((everyone[comes == moment], arms[comes == moment]))
    return pulls[:, 0] / pulls.sum(axis=1)


def matured(scenario: Scenario, rng: np.random.Generator) -> Float64s:
    """The best arm's share of the decisions, [repetitions], where our join says what has matured."""
    rules = _rules(scenario)
    shard = Shard.empty(rules)
    everyone = np.arange(scenario.repetitions)
    labels = [Label("b", 1, str(repetition), arm, 1) for repetition in everyone for arm in ("best", "other")]
    place = {label: divmod(at, 2) for at, label in enumerate(labels)}
    n, clicks, pulled = (np.zeros((scenario.repetitions, 2)) for _ in range(3))
    waiting = np.zeros((0, 2), np.int64)  # rewards on their way: (decision, when)
    for step in range(0, scenario.steps, scenario.publish):
        arms = _choose(n, clicks, scenario.publish, rng)
        steps = np.repeat(np.arange(step, step + scenario.publish), scenario.repetitions)
        flat, who = arms.ravel(), np.tile(everyone, scenario.publish)
        np.add.at(pulled, (who, flat), 1)
        ids = steps * scenario.repetitions + who
        comes = scenario.draw(flat, 0, rng)
        sent = np.column_stack([ids, steps + comes])[comes >= 0]
        waiting = np.concatenate([waiting, sent])
        arrived = waiting[:, 1] < step + scenario.publish
        fold(shard, _block(labels, ids, steps, who * 2 + flat, waiting[arrived]), rules)
        waiting = waiting[~arrived]
        watermark_us = START_US + (step + scenario.publish - 1) * SECOND_US
        for label, row in advance(shard, watermark_us, watermark_us, rules).live.rows.items():
            n[place[label]] += row.n
            clicks[place[label]] += row.sum_r / 1e6
    return pulled[:, 0] / pulled.sum(axis=1)


def _choose(n: Float64s, clicks: Float64s, steps: int, rng: np.random.Generator) -> Int64s:
    """Thompson sampling: int64 [steps, repetitions], the arm of the larger draw."""
    sampled = rng.beta(1 + clicks, 1 + n - clicks, (steps, *n.shape))
    return sampled.argmax(axis=2)


def _rules(scenario: Scenario) -> Rules:
    arms = {arm: Arm(arm, 1, arm) for arm in ("best", "other")}
    window_us = scenario.window * SECOND_US
    attribution = Attribution(window_us, 0, SECOND_US, "any", "decisions", ("click",))
    return Rules(Bandits({"b": Bandit("b", 1, "best", arms, {"kind": "thompson_beta"}, attribution)}))


def _block(labels: list[Label], ids: Int64s, steps: Int64s, label: Int64s, rewards: Int64s) -> Block:
    block = empty_block(0)
    block.labels, block.kinds, block.sources = labels, ["click"], ["rewards"]
    hashes = ids.astype(np.uint64)
    size = len(ids)
    block.decisions = Decisions(
        hi=hashes,
        lo=hashes ^ np.uint64(1),
        at_us=START_US + steps * SECOND_US,
        rank=hashes,
        label=label.astype(np.int32),
        flags=np.zeros(size, np.uint8),
        propensity=np.full(size, 0.5),
        features=None,
        raw={},
    )
    hashes, size = rewards[:, 0].astype(np.uint64), len(rewards)
    block.rewards = Rewards(
        hi=hashes,
        lo=hashes ^ np.uint64(1),
        event=hashes,
        at_us=START_US + rewards[:, 1] * SECOND_US,
        rank=hashes,
        kind=np.zeros(size, np.int32),
        value=np.full(size, 1_000_000, np.int64),
        flags=np.zeros(size, np.uint8),
        event_id=None,
        source=np.zeros(size, np.int32),
        position=np.zeros(size, np.int64),
        raw=[b""] * size,
    )
    return block
