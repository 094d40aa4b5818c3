"""How exact are computed propensities, and how long do they take?

    python benchmarks/policies.py [--json FILE]

The first table compares the vector of six Beta posteriors with the published one and with quadrature over 30 digits.
The second one shows the CPU time of a vector and of draws per kind: the least and the median of seven runs. A router
computes `thompson_beta` once per snapshot, segment and set of eligible arms, and `lints` per request.
"""

from __future__ import annotations

import argparse
import itertools
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import mpmath
import numpy as np

from benchmarks.serving.report import head, table
from serving_client.contracts.policies import policy_of
from serving_client.policies.beta import log_odds
from serving_client.policies.maximum import largest
from serving_client.policies.statistics import ArmStatistics
from serving_client.policies.weights import draw, prepare, weights

SEED = 1
RUNS = 7
POSTERIORS = ((1989, 21290), (40, 474), (64, 730), (71, 818), (52, 659), (59, 718))
PUBLISHED = (0.2963, 0.1760, 0.2034, 0.1690, 0.0614, 0.0939)
PLAIN: tuple[dict[str, Any], ...] = (
    {"kind": "thompson_beta"},
    {"kind": "thompson_gaussian"},
    {"kind": "top_two"},
    {"kind": "ucb1"},
    {"kind": "ucb_tuned"},
    {"kind": "epsilon_greedy", "epsilon": 0.1},
    {"kind": "softmax", "temperature": 0.01},
)


def main() -> int:
    """Print both tables. The exit code is 1 if the vector is not the published one, or 1e-9 from high precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here, too")
    options = parser.parse_args()
    print(head(["numpy", "scipy", "mpmath"]), end="\n\n")
    ours = largest(log_odds(*np.array(POSTERIORS, dtype=float).T)).tolist()
    exact = high_precision()
    lines = [
        (f"Beta{posterior}", f"{published:.4f}", f"{p:.12f}", f"{abs(p - slow):.1e}")
        for posterior, published, p, slow in zip(POSTERIORS, PUBLISHED, ours, exact, strict=True)
    ]
    print(table(("posterior", "published", "ours", "off 30 digits"), lines), end="\n\n")
    times = {name: measured(step, count) for name, step, count in steps()}
    print(table(("CPU time", "min us", "median us"), [(n, f"{a:.1f}", f"{b:.1f}") for n, (a, b) in times.items()]))
    if options.json:
        options.json.write_text(json.dumps({"vector": ours, "high_precision": exact, "cpu_us": times}, indent=1))
    rounded = tuple(round(p, 4) for p in ours)
    return int(rounded != PUBLISHED or max(abs(p - slow) for p, slow in zip(ours, exact, strict=True)) > 1e-9)


def high_precision() -> list[float]:
    """The definition: integral of f_i(t) times the product of the others' F_j(t), by mpmath with 30 digits.

    For a whole number a, 1 - F(t) = sum_{i < a} t^i (1 - t)^b / ((b + i) B(1 + i, b)).
    """
    mpmath.mp.dps = 30
    terms = [[1 / ((b + i) * mpmath.beta(1 + i, b)) for i in range(a)][::-1] for a, b in POSTERIORS]

    def vector(t: mpmath.mpf) -> mpmath.matrix:
        below = [1 - (1 - t) ** b * mpmath.polyval(each, t) for (_, b), each in zip(POSTERIORS, terms, strict=True)]
        densities = [t ** (a - 1) * (1 - t) ** (b - 1) / mpmath.beta(a, b) for a, b in POSTERIORS]
        product = mpmath.fprod(below)
        return mpmath.matrix([f * product / below_one for f, below_one in zip(densities, below, strict=True)])

    ends = [mpmath.mpf(at) / 1000 for at in (50, 72, 78, 82, 86, 90, 94, 100, 110, 130, 160, 200)]
    nodes = mpmath.calculus.quadrature.GaussLegendre(mpmath.mp).calc_nodes(4, 110)
    total = mpmath.zeros(len(POSTERIORS), 1)
    for start, stop in itertools.pairwise(ends):
        half = (stop - start) / 2
        for node, weight in nodes:
            total += vector(start + half * (1 + node)) * (weight * half)
    return [float(p) for p in total]


def steps() -> list[tuple[str, Callable[[], object], int]]:
    """What is measured: a name, a call, and how often it is called per run."""
    rng = np.random.default_rng(SEED)
    found: list[tuple[str, Callable[[], object], int]] = []
    few, many, repeated = arms(rng, (10,)), arms(rng, (1_000,)), arms(rng, (200, 10))
    for entry in PLAIN:
        policy = policy_of(entry)
        found.append((f"{policy['kind']}, a vector of 10 arms", lambda policy=policy: weights(policy, few), 100))
    beta = policy_of(PLAIN[0])
    found.append(("thompson_beta, a vector of 1,000 arms", lambda: weights(beta, many), 3))
    for entry in PLAIN[:4]:
        policy = policy_of(entry)
        found.append(
            (f"{policy['kind']}, 200 draws among 10 arms", lambda policy=policy: draw(policy, repeated, rng), 50)
        )
    for spread in ("like", "unlike"):
        prepared, x = linear(rng, spread)
        found.append((f"lints, 10 arms, 32 features, {spread} n", lambda p=prepared, x=x: p.weights(x), 200))
    return found


def arms(rng: np.random.Generator, shape: tuple[int, ...]) -> ArmStatistics:
    """Arms with 500 to 20,000 decisions and rewards of 5%."""
    n = rng.integers(500, 20_000, shape).astype(float)
    rewards = rng.binomial(n.astype(int), 0.05).astype(float)
    return ArmStatistics(n, rewards, rewards, np.zeros(shape), np.ones((*shape, 2)))


def linear(rng: np.random.Generator, spread: str) -> tuple[Any, Any]:
    """Ten arms with 500 decisions each, or with 100 to 51,200."""
    xtx, xtr, counts = np.empty((10, 32, 32)), np.empty((10, 32)), np.empty(10)
    for arm in range(10):
        counts[arm] = 500 if spread == "like" else 100 * 2**arm
        x = rng.normal(size=(int(counts[arm]), 32))
        xtx[arm], xtr[arm] = x.T @ x, x.T @ (x @ rng.normal(scale=0.02, size=32) + rng.normal(size=len(x)))
    zero = np.zeros(10)
    statistics_ = ArmStatistics(counts, zero, zero, zero, np.zeros((10, 2)), xtx, xtr)
    return prepare(policy_of({"kind": "lints"}), statistics_), rng.normal(size=(10, 32))


def measured(step: Callable[[], object], count: int) -> tuple[float, float]:
    """The least and the median CPU time of a call in microseconds."""
    step()
    times = []
    for _ in range(RUNS):
        start = time.process_time()
        for _ in range(count):
            step()
        times.append((time.process_time() - start) / count * 1e6)
    return min(times), statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())
