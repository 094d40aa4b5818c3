"""The contract "Servable model" in plain Python loops over dictionaries, and random tables to try it on.

Slow and obvious on purpose; it shares no code with pipelines.batch_cf.export.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pyarrow as pa

from pipelines.batch_cf.table import NeighborTable

STRANGE_IDS = [
    " leading",
    "trailing ",
    "  ",
    "\t",
    '"quoted"',
    "'",
    "a,b",
    "007",
    "7",
    "😀",
    "é",
    "e\u0301",
    "#",
    "\\n",
]
STRANGE_IDS += [
    "\u2028",
    "\x85",
    "\x0b",
    "\x0c",
    "\x1c",
    "\ufeffbom",
    "x" * 1024,
    "null",
    "-inf",
    "\U0010ffff",
    "\uffff",
]


@dataclasses.dataclass
class Oracle:
    """A table as dictionaries: what is related to an item and how strongly, who is popular, who is available."""

    related: dict[str, dict[str, float]]
    users: dict[str, int]
    available: dict[str, bool]
    half_life: float | None = None

    def weights(self, history: list[str]) -> dict[int, float]:
        """Weight of each place of the history that counts."""
        places = [p for p, item in enumerate(history) if item in self.users and item not in history[p + 1 :]]
        weights = {}
        for place in places:
            after = sum(other > place for other in places)
            weights[place] = 1.0 if self.half_life is None else 2.0 ** (-after / self.half_life)
        return weights

    def contributions(self, history: list[str], candidate: str) -> list[float]:
        shares = [0.0] * len(history)
        for place, weight in self.weights(history).items():
            shares[place] = weight * self.related[history[place]].get(candidate, 0.0)
        return shares

    def score(self, history: list[str], candidate: str) -> float:
        if candidate not in self.users:
            return -math.inf
        if not self.weights(history):
            return float(self.users[candidate])
        return float(np.float32(math.fsum(self.contributions(history, candidate))))

    def recommend(self, history: list[str], exclude: list[str]) -> list[tuple[str, float]]:
        """All that may be recommended, best first."""
        owned = [item for item in history if item in self.users]
        candidates = {other for item in owned for other in self.related[item]} if owned else set(self.users)
        allowed = {c for c in candidates if self.available[c]} - set(history) - set(exclude)
        scored = [(candidate, score) for candidate in allowed if (score := self.score(history, candidate)) > 0]
        return sorted(scored, key=lambda pair: (-pair[1], pair[0].encode()))


def oracle_of(table: NeighborTable, half_life: float | None = None) -> Oracle:
    names = table.items.to_pylist()
    related = {}
    for place, name in enumerate(names):
        row = range(table.indptr[place], table.indptr[place + 1])
        related[name] = {names[table.neighbors[at]]: float(table.scores[at]) for at in row}
    users = dict(zip(names, table.users.tolist(), strict=True))
    return Oracle(related, users, dict(zip(names, table.available.tolist(), strict=True)), half_life)


def random_table(rng: np.random.Generator, ids: list[str], widest: int, *, unavailable: float = 0.0) -> NeighborTable:
    """Rows of 0 to `widest` neighbors; half of the scores are one of four values, so that ties are common.

    A few scores are negative, as those of EASE are, and a few are 0.
    """
    names = sorted(ids, key=str.encode)
    neighbors, scores, lengths = [], [], []
    for item in range(len(names)):
        others = [other for other in range(len(names)) if other != item]
        row = rng.permutation(others)[: rng.integers(0, widest + 1)]
        score = np.where(rng.random(len(row)) < 0.5, rng.integers(-1, 4, len(row)) / 4, rng.random(len(row)) - 0.2)
        score = score.astype(np.float32)
        best_first = np.lexsort((row, -score))
        neighbors.append(row[best_first])
        scores.append(score[best_first])
        lengths.append(len(row))
    return NeighborTable(
        items=pa.array(names, pa.string()),
        indptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        neighbors=np.concatenate(neighbors).astype(np.int32),
        scores=np.concatenate(scores).astype(np.float32),
        users=rng.integers(1, 30, len(names)),
        available=rng.random(len(names)) >= unavailable,
    )
