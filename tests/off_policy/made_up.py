"""A made-up log of a known policy and known rewards, and the value of every other policy."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np
import orjson
import yaml

START = 1_780_000_000  # seconds
MEANS = {("free", "a"): 0.10, ("free", "b"): 0.20, ("paid", "a"): 0.30, ("paid", "b"): 0.15}
"""Chance of a click by segment and arm."""
PLANS = {"free": 0.6, "paid": 0.4}
LOGGED = {"a": 0.7, "b": 0.3}


def bandit(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "policy_epoch": 1,
        "default_arm": "a",
        "arms": {name: {"generation": 1, "model": name} for name in "ab"},
        "policy": {"kind": "fixed", "weights": LOGGED},
        "attribution": {"window": "30m", "allowed_lateness": "1h"},
        "segments": ["plan"],
    }
    return plain | changes


def value_of(chances: dict[str, float]) -> float:
    """Reward per decision of a policy that draws with the same chances in every segment."""
    return sum(PLANS[plan] * chances.get(arm, 0.0) * mean for (plan, arm), mean in MEANS.items())


@dataclasses.dataclass(frozen=True)
class Logs:
    """Folder with bandits.yaml, decisions.jsonl, rewards.jsonl."""

    folder: pathlib.Path

    def arguments(self, policy: str, *more: str) -> list[str]:
        places = (f"--{name}={self.folder / file}" for name, file in FILES.items())
        return [*places, f"--policy={policy}", f"--output={self.folder / 'out'}", *more]

    def write_policy(self, name: str, **changes: Any) -> str:
        path = self.folder / name
        path.write_text(yaml.safe_dump({"bandits": {"row": bandit(**changes)}}))
        return str(path)


FILES = {"bandits": "bandits.yaml", "decisions": "decisions*.jsonl", "rewards": "rewards*.jsonl"}


def write(
    folder: pathlib.Path,
    n: int = 3_000,
    *,
    seed: int = 1,
    users: int | None = None,
    changes: dict[str, Any] | None = None,
    fields: dict[int, dict[str, Any]] | None = None,
) -> Logs:
    """Write a log of n decisions over 10 days. `fields` changes single decisions, `users` gives them user keys."""
    rng = np.random.default_rng(seed)
    (folder / "bandits.yaml").write_text(yaml.safe_dump({"bandits": {"row": bandit(**(changes or {}))}}))
    plans = rng.choice(list(PLANS), n, p=list(PLANS.values()))
    arms = rng.choice(list(LOGGED), n, p=list(LOGGED.values()))
    clicks = rng.random(n) < np.array([MEANS[plan, arm] for plan, arm in zip(plans, arms, strict=True)])
    decisions, rewards = [], []
    for number in range(n):
        seconds = START + number * 864_000 // n
        at = f"{np.datetime64(seconds, 's')}Z"
        decision: dict[str, Any] = {
            "decision_id": f"d{number}", "bandit_id": "row", "policy_epoch": 1, "segment": str(plans[number]),
            "arm_id": str(arms[number]), "arm_generation": 1, "propensity": LOGGED[str(arms[number])],
            "propensities": LOGGED, "decided_at": at, "rung": "fresh", "context": {"plan": str(plans[number])},
        }  # fmt: skip
        if users:
            decision["user_key"] = f"u{rng.integers(users)}"
        decisions.append(decision | (fields or {}).get(number, {}))
        if clicks[number]:
            rewards.append(
                {"event_id": "c", "decision_id": f"d{number}", "kind": "click", "value": 1, "occurred_at": at}
            )
    for name, records in (("decisions", decisions), ("rewards", rewards)):
        (folder / f"{name}.jsonl").write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    return Logs(folder)
