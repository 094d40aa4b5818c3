"""The part of a line that many decisions share: bandit, segment, arm, probabilities, serving arm."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from examples.reward_stream.world import VECTORS, Stage

__all__ = ["PLACES", "Template", "Templates"]

Int64s = npt.NDArray[np.int64]

PLACES = ("here", "old_generation", "unknown_generation", "old_epoch", "unknown_epoch", "unknown_arm", "unknown_bandit")
"""Where a decision stands in the bandits file."""


class Template(NamedTuple):
    """text: the end of a line, from the comma on. key: segment of the row, arm, generation."""

    text: str
    bandit_id: str
    epoch: int
    key: tuple[str, str, int]
    propensity: float
    bot: bool
    fallback: bool
    holdback: bool


class Templates:
    """Templates by number, made when first asked for."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.made: list[Template] = []
        self._stages = stages
        self._number: dict[int, int] = {}
        arms, segments = (
            max(len(each) for each in of) for of in ([s.arms for s in stages], [s.segments for s in stages])
        )
        self._radix = (len(stages), VECTORS, arms, len(PLACES), segments, arms, 2, 2)

    def numbers(self, *parts: Int64s) -> Int64s:
        """Return the number of the template of each decision [n].

        parts: bandit, vector, arm, place, segment, served (an arm), bot, holdback.
        """
        codes = np.ravel_multi_index(parts, self._radix)
        distinct, inverse = np.unique(codes, return_inverse=True)
        numbers = np.array([self._make(code) for code in distinct.tolist()], np.int64)
        return numbers[inverse]

    def _make(self, code: int) -> int:
        number = self._number.get(code)
        if number is None:
            number = self._number[code] = len(self.made)
            self.made.append(_template(self._stages, *(int(part) for part in np.unravel_index(code, self._radix))))
        return number


def _template(
    stages: Sequence[Stage],
    bandit: int,
    vector: int,
    arm: int,
    place: int,
    segment: int,
    served: int,
    bot: int,
    holdback: int,
) -> Template:
    stage, config = stages[bandit], stages[bandit].config
    where, arm_id = PLACES[place], stage.arms[arm]
    generation, epoch = config.arms[arm_id], config.policy_epoch
    generation += {"old_generation": -1, "unknown_generation": 5}.get(where, 0)
    epoch += {"old_epoch": -1, "unknown_epoch": 1}.get(where, 0)
    named = f"{arm_id}_gone" if where == "unknown_arm" else arm_id
    bandit_id = f"{config.bandit_id}_gone" if where == "unknown_bandit" else config.bandit_id
    name, context = stage.segments[segment]
    shares = (
        {arm_id: 1.0}
        if holdback
        else {each: p / 10_000 for each, p in zip(stage.arms, stage.vectors[vector].tolist(), strict=True) if p}
    )
    fields: dict[str, Any] = {
        "bandit_id": bandit_id,
        "policy_epoch": epoch,
        "segment": name,
        "arm_id": named,
        "arm_generation": generation,
        "propensity": shares[arm_id],
        "propensities": shares,
        "eligible_arms": list(shares),
        "rung": "fresh" if vector else "last_good",
        "snapshot_version": 100 + vector,
        "config_hash": hashlib.sha256(f"{config.bandit_id}/{epoch}".encode()).hexdigest()[:16],
        "served_by": stage.arms[served] if served != arm else named,
        "context": context,
    }
    if served != arm:
        fields["fallback_reason"] = "DEADLINE_EXCEEDED"
    if bot:
        fields["bot"] = True
    if holdback:
        fields["holdback"] = True
    text = "," + json.dumps(fields, separators=(",", ":"))[1:]
    key = ("*holdback" if holdback else name, named, generation)
    return Template(text, bandit_id, epoch, key, shares[arm_id], bool(bot), served != arm, bool(holdback))
