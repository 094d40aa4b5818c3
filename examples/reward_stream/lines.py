"""Write columns of decisions and rewards as JSON lines. For speed, values are put between fixed texts."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from examples.reward_stream.draw import Decisions, Rewards
from examples.reward_stream.templates import Template
from examples.reward_stream.world import VALUES, Stage

__all__ = ["decision_lines", "reward_lines"]

_ITEMS = [json.dumps([f"i{(17 * n + 101 * k) % 1_000}" for k in range(3)], separators=(",", ":")) for n in range(1_000)]


def decision_lines(decisions: Decisions, templates: Sequence[Template], stages: Sequence[Stage]) -> list[str]:
    """Write a line per decision, about 450 bytes, without its line end."""
    features = [""] * len(decisions.ids)
    for bandit, vectors in decisions.vectors.items():
        schema = f',"feature_schema":"{stages[bandit].config.schema}"'
        for row, vector in zip(np.flatnonzero(decisions.bandit == bandit).tolist(), vectors.tolist(), strict=True):
            features[row] = f',"features":[{",".join(map(repr, vector))}]{schema}'
    ends = [template.text for template in templates]
    columns = zip(
        decisions.ids.tolist(), _texts(decisions.at_us), _texts(decisions.arrival_us), decisions.draw.tolist(),
        decisions.user.tolist(), features, decisions.template.tolist(), strict=True,
    )  # fmt: skip
    return [
        f'{{"decision_id":"{number:016x}","decided_at":"{at}Z","received_at":"{arrival}Z","draw":0.{draw:06d},'
        f'"user_key":"u{user}","items":{_ITEMS[user % 1_000]}{more}{ends[template]}'
        for number, at, arrival, draw, user, more, template in columns
    ]


def reward_lines(decisions: Decisions, rewards: Rewards) -> list[str]:
    """Write a line per reward, without its line end."""
    columns = zip(
        decisions.ids[rewards.decision].tolist(), rewards.ordinal.tolist(), rewards.kind.tolist(),
        rewards.value.tolist(), _texts(rewards.at_us), _texts(rewards.arrival_us), strict=True,
    )  # fmt: skip
    kinds, values = rewards.kinds, [text for text, _, _ in VALUES]
    return [
        f'{{"event_id":"{kinds[kind]}-{ordinal}","decision_id":"{number:016x}","kind":"{kinds[kind]}",'
        f'"value":{values[value]},"occurred_at":"{at}Z","received_at":"{arrival}Z","item_id":"i{number % 1_000}",'
        f'"position":{ordinal}}}'
        for number, ordinal, kind, value, at, arrival in columns
    ]


def _texts(times_us: npt.NDArray[np.int64]) -> list[str]:
    texts: list[str] = np.datetime_as_string(times_us.astype("datetime64[us]"), unit="us").tolist()
    return texts
