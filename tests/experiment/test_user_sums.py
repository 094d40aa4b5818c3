"""Sums by user against the plain loop over users, in any division, and what they do to the interval."""

from __future__ import annotations

import collections
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.experiment.contrast import lift_of
from pipelines.experiment.user_sums import UserTotals, add_totals, divide, totals_of, user_sums
from tests.experiment.worlds import bandit
from transforms.attribution.rules import HOLDBACK

NAMES = [HOLDBACK, "*policy", "cf", "vae"]
BANDIT = bandit(holdback=0.1)


def decision(user: str | None, arm: str, p: float, reward: float, at: int, **more: Any) -> dict[str, Any]:
    fields = {
        "key": at, "bandit_id": "home_row", "outcome": "counted", "user_key": user, "fallback": False, "arm_id": arm,
        "arm_generation": 1, "segment": "*", "propensity": p, "reward": reward, "decided_at_us": at,
    }  # fmt: skip
    return fields | more


def batch(decisions: list[dict[str, Any]]) -> pa.RecordBatch:
    table = pa.Table.from_pylist(decisions)
    for name in ("bandit_id", "outcome", "arm_id", "segment"):
        table = table.set_column(
            table.schema.get_field_index(name), name, table[name].combine_chunks().dictionary_encode()
        )
    return table.set_column(0, "key", table["key"].cast(pa.uint64())).combine_chunks().to_batches()[0]


def logged(rng: random.Random, n: int = 300) -> list[dict[str, Any]]:
    """Decisions of 40 users, and some of everything that does not count."""
    oddities: list[dict[str, Any]] = [
        {}, {}, {}, {}, {}, {"user_key": None}, {"outcome": "bot"}, {"fallback": True}, {"bandit_id": "other"},
        {"arm_generation": 2}, {"arm_id": "gone"}, {"propensity": 0.0}, {"propensity": 1e-310},
        {"segment": HOLDBACK}, {"segment": HOLDBACK},
    ]  # fmt: skip
    return [
        decision(
            f"u{rng.randrange(40)}", rng.choice(["cf", "vae"]), rng.choice([0.25, 0.5]), rng.choice([0.0, 1.0]), at
        )
        | rng.choice(oddities)
        for at in range(n)
    ]


def plain(decisions: list[dict[str, Any]]) -> tuple[dict[str, list[float]], list[tuple[str, float]]]:
    """By user the sums of w and w r in each group, and of each drawn user the first arm with its propensity."""
    users: dict[str, list[float]] = collections.defaultdict(lambda: [0.0] * 2 * len(NAMES))
    first: dict[str, tuple[str, float]] = {}
    for each in decisions:
        if (
            each["user_key"] is None
            or each["outcome"] != "counted"
            or each["fallback"]
            or each["bandit_id"] != "home_row"
        ):
            continue
        present = each["arm_id"] in ("cf", "vae") and each["arm_generation"] == 1
        held = each["segment"] == HOLDBACK
        weights = dict.fromkeys(NAMES, 0.0)
        if held and present and each["arm_id"] == "cf":
            weights[HOLDBACK] = 1.0
        if not held:
            weights["*policy"] = 1.0
            if present and each["propensity"] > 1e-9:
                weights[each["arm_id"]] = 1 / each["propensity"]
            first.setdefault(each["user_key"], (each["arm_id"] if present else "", each["propensity"]))
        for at, name in enumerate(NAMES):
            users[each["user_key"]][2 * at] += weights[name]
            users[each["user_key"]][2 * at + 1] += weights[name] * each["reward"]
    return users, list(first.values())


def totals(parts: list[list[dict[str, Any]]], buckets: int) -> UserTotals:
    by_bucket = collections.defaultdict(list)
    for part in parts:
        found = user_sums(batch(part), BANDIT, NAMES)
        if found is not None:
            for bucket, users in divide(found, buckets).items():
                by_bucket[bucket].append(users)
    facts = [totals_of(each).to_fact() for _, each in sorted(by_bucket.items())]
    return add_totals(UserTotals.from_fact(fact) for fact in facts)


@pytest.mark.parametrize("seed", range(5))
def test_the_totals_are_those_of_the_plain_loop_however_the_log_is_divided(seed: int) -> None:
    rng = random.Random(seed)
    decisions = logged(rng)
    users, first = plain(decisions)
    rows = np.array(list(users.values()))
    shuffled = rng.sample(decisions, len(decisions))
    found = totals([shuffled[at::7] for at in range(7)], buckets=3)
    assert found.users == len(users)
    assert np.allclose(found.sums, rows.sum(axis=0)) and np.allclose(found.products, rows.T @ rows)
    assert found.units.tolist() == (rows[:, ::2] > 0).sum(axis=0).tolist()
    for at, name in enumerate(NAMES):
        mine = [p for arm, p in first if arm == name]
        known = [p for p in mine if p > 1e-9]
        expected = [len(mine), sum(1 / p for p in known), sum(1 / p**2 for p in known), len(mine) - len(known)]
        assert found.exposure[at].tolist() == pytest.approx(expected)
    exposure, tested = found.exposure_rows(NAMES)
    assert tested == len(first) and {each["arm_id"] for each in exposure} == {"cf", "vae"}


def test_the_same_division_gives_the_same_bits_in_any_order() -> None:
    rng = random.Random(9)
    parts = [logged(rng, 50) for _ in range(6)]
    one, two = totals(parts, 4), totals(rng.sample(parts, len(parts)), 4)
    assert one.to_fact() == two.to_fact()


def test_users_of_many_decisions_make_the_interval_wider() -> None:
    """200 users with 20 equal decisions each: the error is that of 200 decisions, sqrt 20 times as large."""
    rng = random.Random(3)
    users = [(f"u{at}", rng.choice(["cf", "vae"]), float(rng.random() < 0.4)) for at in range(200)]
    log = [decision(user, arm, 0.5, reward, 20 * at + turn) for at, (user, arm, reward) in enumerate(users)
           for turn in range(20)]  # fmt: skip
    by_user = totals([log], 1).moments(NAMES).contrast("vae", "cf")
    alone = (
        totals([[each | {"user_key": f"{at}"} for at, each in enumerate(log)]], 1).moments(NAMES).contrast("vae", "cf")
    )
    assert by_user.difference == pytest.approx(alone.difference)
    assert by_user.difference_variance == pytest.approx(20 * alone.difference_variance)
    assert lift_of(by_user, 0.05).high > lift_of(alone, 0.05).high


def test_a_log_without_users_has_no_sums() -> None:
    assert user_sums(batch([decision(None, "cf", 0.5, 1.0, 1)]), BANDIT, NAMES) is None
