"""Simpson's case: the arm that is better in each hour is worse in the sum of both, since traffic moved meanwhile.

Hour 1: A 55 of 500, B 50 of 500. Hour 2: A 540 of 9,000, B 50 of 1,000. Pooled, B wins (100 / 1,500 = .0667 to
595 / 9,500 = .0626). With each hour weighted by its traffic (1,000 and 10,000), A wins:
(.11 x 1,000 + .06 x 10,000) / 11,000 = .0645 to (.1 x 1,000 + .05 x 10,000) / 11,000 = .0545.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving_client.contracts.bandits import Arm, Attribution, Bandit
from transforms.attribution.rules import Label
from transforms.attribution.statistics.row_sums import Counted, sum_rows
from transforms.attribution.statistics.rows import HOUR_US, row_document

__all__ = ["COUNTS", "pooled", "reweighted", "rows"]

COUNTS = {"A": ((55, 500), (540, 9_000)), "B": ((50, 500), (50, 1_000))}
"""By arm: (clicks, decisions) of each hour."""

START_US = 472_222 * HOUR_US


def rows() -> list[dict[str, Any]]:
    """The statistics rows of these decisions, by our code."""
    columns: list[tuple[int, int, int]] = []
    for label, hours in enumerate(COUNTS.values()):
        for hour, (clicks, n) in enumerate(hours):
            at_us = START_US + hour * HOUR_US
            columns += [(label, at_us + step * 300_000, step < clicks) for step in range(n)]
    label, at_us, clicked = (np.array(column, np.int64) for column in zip(*columns, strict=True))
    counted = Counted(label.astype(np.int32), at_us, clicked * 1_000_000, np.full(len(label), 0.5))
    arms = {arm: Arm(arm, 1, arm) for arm in COUNTS}
    bandit = Bandit("b", 1, "A", arms, {"kind": "thompson_beta"}, Attribution(HOUR_US, 0))
    sums = sum_rows(counted, [bandit] * len(arms), [("", 0)] * len(arms))
    newest_us = int(at_us.max())
    return [
        row_document(Label("b", 1, "*", arm, 1), sums[code], 0, newest_us, newest_us, bandit)
        for code, arm in enumerate(arms)
    ]


def pooled(row: Mapping[str, Any]) -> float:
    """The arm's mean over all hours."""
    return float(row["sum_r"] / row["n"])


def reweighted(documents: Sequence[Mapping[str, Any]], arm: str) -> float:
    """The arm's mean in each hour, weighted by the hour's traffic over all arms."""
    traffic: collections.Counter[str] = collections.Counter()
    for row in documents:
        traffic.update({hour["start"]: hour["n"] for hour in row["hours"]})
    (own,) = (row["hours"] for row in documents if row["arm_id"] == arm)
    weights = [traffic[hour["start"]] for hour in own]
    means = [hour["sum_r"] / hour["n"] for hour in own]
    return sum(w * m for w, m in zip(weights, means, strict=True)) / sum(weights)
