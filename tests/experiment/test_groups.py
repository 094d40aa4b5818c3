"""The moments from a snapshot's rows are those of the plain sums over decisions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipelines.experiment.groups import POLICY, groups_of, hours_of, moments_of
from serving_client.snapshots.snapshot import Row
from tests.experiment.worlds import HOUR_US, MONDAY_US, bandit, row, snapshot
from transforms.attribution.rules import HOLDBACK

NAMES = [HOLDBACK, POLICY, "cf", "vae"]
BANDIT = bandit(holdback=0.1)


def row_of(values: list[tuple[float, float]]) -> Row:
    """A row of decisions (propensity, reward) of one hour."""
    w, r = np.array([1 / p for p, _ in values]), np.array([r for _, r in values])
    sums = {"sum_w": w, "sum_w2": w * w, "sum_wr": w * r, "sum_w2r2": (w * r) ** 2}
    ipw = {"n": len(values), "missing": 0} | {name: float(each.sum()) for name, each in sums.items()}
    return dataclasses.replace(row([(len(values), 0)]), sum_r=float(r.sum()), sum_r2=float((r * r).sum()), ipw=ipw)


def plain(groups: dict[str, list[tuple[float, float]]]) -> tuple[np.ndarray, np.ndarray]:
    """Sums and products over decisions of (w, w r) by group. The products of different groups are 0."""
    sums, products = np.zeros(2 * len(NAMES)), np.zeros((2 * len(NAMES),) * 2)
    for at, name in enumerate(NAMES):
        for p, r in groups[name]:
            w = 1.0 if name in (HOLDBACK, POLICY) else 1 / p
            value = np.array([w, w * r])
            sums[2 * at : 2 * at + 2] += value
            products[2 * at : 2 * at + 2, 2 * at : 2 * at + 2] += np.outer(value, value)
    return sums, products


@pytest.mark.parametrize("kind", ["0 and 1, any propensity", "other rewards, one propensity"])
def test_moments_are_the_plain_sums(kind: str) -> None:
    rng = np.random.default_rng(4)
    binary = kind.startswith("0")

    def draw(n: int) -> list[tuple[float, float]]:
        p = rng.choice([0.1, 0.5, 0.9], n) if binary else np.full(n, 0.25)
        r = rng.integers(0, 2, n).astype(float) if binary else rng.normal(1, 2, n)
        return list(zip(p.tolist(), r.tolist(), strict=True))

    held, cf, vae, old = draw(50), draw(80), draw(70), draw(20)
    rows = {
        ("*", "cf", 1): row_of(cf),
        ("*", "vae", 1): row_of(vae),
        ("*", "vae", 0): row_of(old),
        ("free", "cf", 1): row_of(cf[:10]),
        ("*holdback", "cf", 1): row_of(held),
        ("*holdback", "cf", 0): row_of(old),
    }
    made = snapshot(rows)
    found = moments_of(BANDIT, made, NAMES)
    sums, products = plain({HOLDBACK: held, POLICY: [*cf, *vae, *old], "cf": cf, "vae": vae})
    assert found.sums == pytest.approx(sums) and found.products == pytest.approx(products)
    assert found.units.tolist() == [50, 170, 80, 70]
    assert [group.n for group in groups_of(BANDIT, made, NAMES).values()] == [50, 170, 80, 70]
    assert groups_of(BANDIT, made, ["cf"])["cf"].ess == pytest.approx(sums[4] ** 2 / products[4, 4])


def test_groups_without_rows_are_empty() -> None:
    made, alone = snapshot({("*", "vae", 2): row([(5, 1)])}), bandit()
    assert [group.n for group in groups_of(alone, made, ["cf", "vae", HOLDBACK]).values()] == [0, 0, 0]
    assert moments_of(alone, made, ["cf", "vae"]).sums.tolist() == [0, 0, 0, 0]
    assert len(hours_of(alone, made, "cf")) == 0


def test_hours_of_the_policy_are_those_of_all_arms_and_generations() -> None:
    rows = {("*", "cf", 1): row([(5, 1), (6, 2)]), ("*", "vae", 0): row([(3, 3)], first_us=MONDAY_US + HOUR_US)}
    found = hours_of(BANDIT, snapshot(rows | {("free", "cf", 1): row([(5, 1)])}), POLICY)
    assert found.sums.tolist() == [[5, 1, 1], [9, 5, 5]]
