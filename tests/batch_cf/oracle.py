"""Item neighbors the slow way: plain Python over dictionaries, from rows of a log to ranked lists.

It shares no code with the pipeline. Pair sums are exact (math.fsum over fractions of weights as they are), so weighted
scores agree with the pipeline's up to its rounding of 2^-40 a user; binary ones agree exactly.
"""

from __future__ import annotations

import collections
import dataclasses
import math

import numpy as np

Row = tuple[str, str, float, int]  # user, item, weight, microseconds


@dataclasses.dataclass(frozen=True)
class Neighbor:
    item: str
    score: float
    users: int


def histories(
    rows: list[Row], dedupe: str = "last", half_life_us: int | None = None, until_us: int | None = None
) -> dict[str, dict[str, float]]:
    """User -> item -> weight; decayed at the newest time, deduplicated, without weights of zero."""
    newest = until_us if until_us is not None else max(time for *_, time in rows)
    events: dict[tuple[str, str], list[tuple[int, float]]] = collections.defaultdict(list)
    for user, item, weight, time in rows:
        decay = 1.0 if half_life_us is None else 2.0 ** (-(newest - time) / half_life_us)
        events[user, item].append((time, weight * decay))
    chosen: dict[str, dict[str, float]] = collections.defaultdict(dict)
    for (user, item), seen in events.items():
        oldest, latest = min(time for time, _ in seen), max(time for time, _ in seen)
        weight = {
            "last": max(weight for time, weight in seen if time == latest),
            "first": min(weight for time, weight in seen if time == oldest),
            "max": max(weight for _, weight in seen),
            "sum": math.fsum(weight for _, weight in seen),
        }[dedupe]
        if weight > 0:
            chosen[user][item] = weight
    return dict(chosen)


def similarity(name: str, i: str, j: str, of: dict[str, dict[str, float]], p: dict[str, float]) -> float:
    """The textbook formula of one pair, over the histories `of`."""
    both = [u for u in of if i in of[u] and j in of[u]]
    count_i, count_j = sum(i in h for h in of.values()), sum(j in h for h in of.values())
    users = len(of)
    dot = math.fsum(of[u][i] * of[u][j] for u in both)
    square_i = math.fsum(h[i] ** 2 for h in of.values() if i in h)
    square_j = math.fsum(h[j] ** 2 for h in of.values() if j in h)

    def walked(exponent: float) -> float:
        return math.fsum(of[u][i] * of[u][j] * math.fsum(w**2 for w in of[u].values()) ** -exponent for u in both)

    def tempered(numerator: float, denominator: float) -> float:
        return (numerator / (denominator + p["shrinkage"])) ** p["locality"]

    if name == "count":
        return float(len(both))
    if name == "cosine":
        return dot / math.sqrt(square_i * square_j)
    if name == "jaccard":
        return len(both) / (count_i + count_j - len(both))
    if name == "lift":
        return len(both) / count_i * (users / count_j)
    if name == "llr":
        table = [
            [len(both), count_i - len(both)],
            [count_j - len(both), users - count_i - count_j + len(both)],
        ]
        total = 0.0
        for row in (0, 1):
            for column in (0, 1):
                observed = table[row][column]
                expected = sum(table[row]) * (table[0][column] + table[1][column]) / users
                total += 2 * observed * math.log(observed / expected) if observed else 0.0
        return max(0.0, total)
    if name == "asymmetric_cosine":
        return tempered(dot, square_i ** p["asymmetry"] * square_j ** (1 - p["asymmetry"]))
    if name == "rp3beta":
        return tempered(walked(p["alpha"]), square_i ** p["alpha"] * square_j ** p["beta"])
    if name == "degree_normalized":
        b = p["item_exponent"]
        return tempered(walked(p["user_exponent"]), square_i**b * square_j ** p.get("candidate_exponent", 1 - b))
    raise AssertionError(name)


def ease_neighbors(of: dict[str, dict[str, float]], l2: float, top_k: int) -> dict[str, list[Neighbor]]:
    """The closed form over the dense matrix of weights: P = (X'X + l2 I)^-1, w_ij = -P_ij / P_jj; the largest |w|."""
    items = sorted({item for history in of.values() for item in history}, key=lambda item: item.encode())
    dense = np.array([[history.get(item, 0.0) for item in items] for history in of.values()])
    inverse = np.linalg.inv(dense.T @ dense + l2 * np.eye(len(items)))
    weights = np.rint(-inverse / np.diag(inverse) * 2**20) / 2**20
    shared = (dense > 0).astype(int).T @ (dense > 0).astype(int)
    ranked = {}
    for i, item in enumerate(items):
        others = [j for j in range(len(items)) if j != i and weights[i, j] != 0]
        others.sort(key=lambda j: (-abs(weights[i, j]), j))
        kept = sorted(others[:top_k], key=lambda j: (-weights[i, j], j))
        ranked[item] = [Neighbor(items[j], float(weights[i, j]), int(shared[i, j])) for j in kept]
    return ranked


def neighbors(of: dict[str, dict[str, float]], name: str, p: dict[str, float], top_k: int) -> dict[str, list[Neighbor]]:
    """Item -> its best neighbors, by score, then by the bytes of the id."""
    if name == "ease":
        return ease_neighbors(of, p["l2"], top_k)
    items = sorted({item for history in of.values() for item in history}, key=lambda item: item.encode())
    ranked = {}
    for i in items:
        pairs = []
        for j in items:
            users = sum(i in h and j in h for h in of.values())
            if i != j and users:
                pairs.append(Neighbor(j, similarity(name, i, j, of, p), users))
        pairs.sort(key=lambda pair: (-pair.score, pair.item.encode()))
        ranked[i] = pairs[:top_k]
    return ranked
