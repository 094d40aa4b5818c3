"""Open Bandit's log of uniformly random recommendations as decisions and rewards, and what it says of another policy.

One row is one decision: segment = position, arm = item, propensity as logged, reward = click. The target is the Beta
Thompson sampling policy behind the other log: 300,000 joint draws from its published priors, the three largest of the
34 items fill positions 1 to 3, and p(position, item) is how often. With w = p / propensity

    IPS = sum w r / N,  SNIPS = sum w r / sum w,  ESS = (sum w)^2 / sum w^2,  se = sd(w r) / sqrt N

all of which follow from the `ipw` of our rows, since p is the same for all decisions of a row (Saito et al. 2021).
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.off_policy.estimators import Estimates, estimate
from pipelines.off_policy.log_facts import facts_of
from pipelines.off_policy.reward_model import RewardModel
from pipelines.off_policy.selection import Selection, select
from pipelines.off_policy.sums import sums_of
from pipelines.off_policy.weighing import weigh
from serving_client.bandits_file import parse_bytes
from transforms.attribution.joined.join import join_blocks
from transforms.attribution.joined.log_blocks import read_range
from transforms.attribution.parsing.file_ranges import ranges_of
from transforms.attribution.rules import Rules

__all__ = [
    "ByPosition",
    "OffPolicy",
    "bandits_yaml",
    "by_off_policy",
    "evaluate",
    "plain",
    "read_log",
    "target_policy",
    "write_log",
]

POSITIONS = 3

_BANDITS = """bandits:
  open_bandit:
    policy_epoch: 1
    default_arm: "0"
    arms:
{arms}
    policy: {{kind: thompson_beta, floor: 0}}
    attribution: {{window: 1m, allowed_lateness: 1h, aggregate: any, reward_kinds: [click]}}
    segments: [position]
"""


@dataclasses.dataclass(frozen=True)
class OffPolicy:
    """What the target policy would have earned a decision."""

    decisions: int
    clicks: int
    ips: float
    standard_error: float
    snips: float
    ess: float


def bandits_yaml(items: Sequence[str]) -> str:
    """The bandits file for these items."""
    arms = "\n".join(f'      "{item}": {{generation: 1, model: item}}' for item in items)
    return _BANDITS.format(arms=arms)


def read_log(path: pathlib.Path) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """(decision, reward or None) of each row of a policy's log."""
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            at = row["timestamp"].replace(" ", "T").replace("+00:00", "Z")
            decision = {
                "decision_id": f"ob-{number}",
                "bandit_id": "open_bandit",
                "policy_epoch": 1,
                "segment": row["position"],
                "arm_id": row["item_id"],
                "arm_generation": 1,
                "propensity": float(row["propensity_score"]),
                "decided_at": at,
            }
            click = {"event_id": "c", "decision_id": f"ob-{number}", "kind": "click", "value": 1, "occurred_at": at}
            yield decision, click if row["click"] == "1" else None


def write_log(records: Iterable[tuple[dict[str, Any], dict[str, Any] | None]], folder: pathlib.Path) -> int:
    """decisions.jsonl and rewards.jsonl; returns how many decisions."""
    decisions, rewards = zip(*records, strict=True)
    (folder / "decisions.jsonl").write_text("".join(json.dumps(each) + "\n" for each in decisions))
    (folder / "rewards.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rewards if each is not None))
    return len(decisions)


def target_policy(
    alpha: npt.NDArray[np.float64], beta: npt.NDArray[np.float64], draws: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """p(position, item) [3, items] of Thompson sampling that shows the three items of the largest draws in order."""
    counts = np.zeros((POSITIONS, len(alpha)))
    for size in [20_000] * (draws // 20_000) + [draws % 20_000] * (draws % 20_000 > 0):
        sampled = rng.beta(alpha, beta, (size, len(alpha)))
        best = np.argpartition(-sampled, POSITIONS - 1, axis=1)[:, :POSITIONS]
        order = np.argsort(-np.take_along_axis(sampled, best, axis=1), axis=1)
        ranked = np.take_along_axis(best, order, axis=1)
        for position in range(POSITIONS):
            counts[position] += np.bincount(ranked[:, position], minlength=len(alpha))
    return counts / draws


def evaluate(rows: Iterable[Mapping[str, Any]], target: npt.NDArray[np.float64]) -> OffPolicy:
    """From statistics rows, one per (position, item); those of `*` are left out."""
    decisions, clicks, parts = 0, 0.0, []
    for row in rows:
        if row["segment"] == "*":
            continue
        p, ipw = float(target[int(row["segment"]) - 1, int(row["arm_id"])]), row["ipw"]
        decisions += ipw["n"]
        clicks += row["sum_r"]
        parts.append((p * ipw["sum_w"], p * p * ipw["sum_w2"], p * ipw["sum_wr"], p * p * ipw["sum_w2r2"]))
    w, w2, wr, w2r2 = (math.fsum(column) for column in zip(*parts, strict=True))
    ips = wr / decisions
    error = math.sqrt((w2r2 / decisions - ips * ips) / decisions)
    return OffPolicy(decisions, round(clicks), ips, error, wr / w, w * w / w2)


def plain(
    records: Iterable[tuple[Mapping[str, Any], Mapping[str, Any] | None]], target: npt.NDArray[np.float64]
) -> OffPolicy:
    """The same from the log itself, decision by decision."""
    listed = list(records)
    w = np.array([target[int(one["segment"]) - 1, int(one["arm_id"])] / one["propensity"] for one, _ in listed])
    r = np.array([click is not None for _, click in listed], float)
    wr = w * r
    error = float(wr.std() / math.sqrt(len(w)))
    snips, ess = float(wr.sum() / w.sum()), float(w.sum() ** 2 / (w * w).sum())
    return OffPolicy(len(w), int(r.sum()), float(wr.mean()), error, snips, ess)


@dataclasses.dataclass(frozen=True)
class ByPosition:
    """A target policy for `pipelines.off_policy`, with its own probabilities in each segment.

    A bandits file cannot express it, because the three positions share their draws.

    Args:
        chances: p(position, item) [3, items].
    """

    chances: npt.NDArray[np.float64]
    name: str = "bts"
    needs_context: bool = False

    @property
    def arms(self) -> Collection[str]:
        """The items."""
        return self.generations.keys()

    @property
    def generations(self) -> Mapping[str, int]:
        """1 for each item."""
        return {str(item): 1 for item in range(self.chances.shape[1])}

    def probabilities(self, segment: str, eligible: Collection[str] | None, context: str | None) -> Mapping[str, float]:
        """The row of the segment's position."""
        return {str(item): float(p) for item, p in enumerate(self.chances[int(segment) - 1])}


def by_off_policy(folder: pathlib.Path, bandits: str, target: npt.NDArray[np.float64], seed: int) -> Estimates:
    """The logs of a folder through the functions that `recbeam off-policy` runs, in one shard."""
    rules, policy = Rules(parse_bytes(bandits.encode(), "bandits.yaml")), ByPosition(target)
    ranges = [
        part
        for source in ("decisions", "rewards")
        for part in ranges_of(source, {str(path): path.stat().st_size for path in folder.glob(f"{source}*.jsonl")})
    ]
    blocks = [read_range(part, rules, 1, time.time_ns() // 1_000).blocks[0] for part in ranges]
    joined, _ = join_blocks(blocks, rules)
    chosen = select(
        joined, Selection("open_bandit", by_user=False, exclude_fallbacks=False, with_context=False)
    ).decisions
    facts = facts_of(chosen, policy.generations)
    weighed = weigh(chosen, facts, RewardModel(facts.cells), policy)
    return estimate(sums_of(weighed, seed), (0.0, 1.0), independent=True)
