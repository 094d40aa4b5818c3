"""The steps from a snapshot to logged propensities: which arms are left, floor, ramps, cold arms, draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving_client.policies.caps import apply_caps
from serving_client.policies.probabilities import Probabilities, allocate, how_many, probabilities
from serving_client.policies.statistics import statistics_of
from serving_client.policies.weights import weights
from serving_client.snapshots.snapshot import Row
from tests.serving.policies.arms import arms as arms_with
from tests.serving.policies.bandits import HOUR_US, START_US, bandit, row, snapshot

RAMP = {
    "started_at": "2026-01-01T00:00:00Z",
    "steps": [{"after": "0s", "share": 0.01}, {"after": "1h", "share": 0.2}, {"after": "2h", "share": 1.0}],
}
SHARED = {"kind": "epsilon_greedy", "epsilon": 1.0}


def shares(found: Probabilities) -> dict[str, float]:
    return {arm_id: pytest.approx(p, abs=1e-12) for arm_id, p in zip(found.arms, found.p, strict=True)}


def known(**rows: tuple[float, float]) -> dict[tuple[str, str, int], Row]:
    return {("*", arm_id, 1): row(*sums) for arm_id, sums in rows.items()}


def test_the_vector_belongs_to_the_eligible_subset_itself() -> None:
    """Two of the reference's arms alone, instead of their shares of the six divided by their sum."""
    chosen = bandit({name: {} for name in "abc"}, prior={"a": [1989, 21290], "b": [40, 474], "c": [64, 730]})
    found = probabilities(chosen, None, "*", {"c", "b", "unknown"})
    assert found.arms == ("b", "c")
    alone = weights({"kind": "thompson_beta"}, arms_with([0, 0], [0, 0], prior=[(40, 474), (64, 730)]))
    assert found.p == tuple(alone.tolist())


def test_only_active_arms_that_no_guardrail_stopped_are_left() -> None:
    states = {"cf": {}, "old": {"state": "draining"}, "gone": {"state": "retired"}, "bad": {}, "new": {"generation": 2}}
    stopped = snapshot({}, rolled_back=[("bad", 1), ("new", 1)])
    assert probabilities(bandit(states, SHARED), stopped, "*").arms == ("cf", "new")


def test_what_a_guardrail_stopped_stays_stopped_when_the_epoch_changes() -> None:
    chosen = bandit({"cf": {}, "bad": {}}, SHARED, policy_epoch=2)
    assert probabilities(chosen, snapshot({}, rolled_back=[("bad", 1)]), "*").arms == ("cf",)


def test_without_an_arm_the_vector_is_empty() -> None:
    assert probabilities(bandit({"cf": {}}), None, "*", ()) == Probabilities((), (), ())


def test_arms_are_in_the_order_of_their_bytes() -> None:
    names = ["z", "é", "a", "𝛼", "ﬁ", "Z"]
    found = probabilities(bandit({name: {} for name in names}, SHARED), None, "*")
    assert list(found.arms) == sorted(names, key=str.encode) == ["Z", "a", "z", "é", "ﬁ", "𝛼"]


def test_the_floor_is_added_to_the_weights() -> None:
    """p = 0.1 + (1 - 3 x 0.1) w with w = (1, 0, 0)."""
    chosen = bandit({name: {} for name in "abc"}, {"kind": "ucb1", "floor": 0.1})
    found = probabilities(chosen, snapshot(known(a=(900, 800), b=(900, 10), c=(900, 10))), "*")
    assert shares(found) == {"a": 0.8, "b": 0.1, "c": 0.1}


@pytest.mark.parametrize(
    ("watermark_us", "share"),
    [
        (None, None),
        (START_US - 1, None),
        (START_US, 0.01),
        (START_US + HOUR_US, 0.2),
        (START_US + 2 * HOUR_US, 0.5),
    ],
)
def test_a_ramp_caps_its_arm_by_the_watermark(watermark_us: int | None, share: float | None) -> None:
    """Without a cap both arms have 0.5. Before the first step the arm is left out."""
    chosen = bandit({"cf": {}, "new": {"ramp": RAMP}}, SHARED)
    found = probabilities(chosen, snapshot({}, watermark_us), "*")
    assert shares(found) == ({"cf": 1.0} if share is None else {"cf": 1 - share, "new": share})


def test_a_ramp_goes_on_when_the_epoch_changes_and_stands_still_without_a_snapshot() -> None:
    chosen = bandit({"cf": {}, "new": {"ramp": RAMP}}, SHARED, policy_epoch=2)
    assert shares(probabilities(chosen, snapshot({}, START_US + HOUR_US), "*")) == {"cf": 0.8, "new": 0.2}
    assert probabilities(chosen, None, "*").arms == ("cf",)


def test_a_cold_arm_gets_a_tenth_until_it_has_500_decisions() -> None:
    """With a prior of [1, 1] a new arm beside two arms at 5% would take 90% of the traffic."""
    chosen = bandit({"a": {}, "b": {}, "new": {}})
    rows = known(a=(20_000, 1_000), b=(20_000, 1_000), new=(499, 25))
    assert shares(probabilities(chosen, snapshot(known(a=(20_000, 1_000), b=(20_000, 1_000))), "*")) == {
        "a": 0.45,
        "b": 0.45,
        "new": 0.1,
    }
    assert probabilities(chosen, snapshot(rows), "*").p[2] == pytest.approx(0.1)
    rows[("*", "new", 1)] = row(500, 25)
    assert probabilities(chosen, snapshot(rows), "*").p[2] > 0.3
    off = bandit({"a": {}, "b": {}, "new": {}}, cold={"share": 1})
    assert probabilities(off, snapshot(known(a=(20_000, 1_000), b=(20_000, 1_000))), "*").p[2] > 0.9


def test_while_all_arms_are_cold_none_is_capped() -> None:
    chosen = bandit({"a": {}, "b": {}, "warm": {}}, {"kind": "ucb1"})
    rows = snapshot(known(a=(400, 100), b=(10, 9), warm=(900, 900)))
    assert shares(probabilities(chosen, rows, "*", {"a", "b"})) == {"a": 0.0, "b": 1.0}
    assert shares(probabilities(chosen, None, "*")) == {name: pytest.approx(1 / 3) for name in ("a", "b", "warm")}


def test_coldness_counts_all_segments() -> None:
    """A segment that saw few decisions does not make an arm cold that is known elsewhere."""
    chosen = bandit({"a": {}, "b": {}}, {"kind": "ucb1"}, segments=["plan"])
    rows = known(a=(5_000, 50), b=(5_000, 50)) | {("free", "a", 1): row(600, 6), ("free", "b", 1): row(3, 3)}
    assert shares(probabilities(chosen, snapshot(rows), "free")) == {"a": 0.0, "b": 1.0}


def test_an_earlier_generation_does_not_make_an_arm_warm() -> None:
    chosen = bandit({"a": {}, "b": {"generation": 2}}, {"kind": "ucb1"})
    assert shares(probabilities(chosen, snapshot(known(a=(900, 9), b=(900, 900))), "*")) == {"a": 0.9, "b": 0.1}


def test_an_arm_with_a_ramp_is_not_cold() -> None:
    chosen = bandit({"a": {}, "b": {"ramp": RAMP}}, {"kind": "ucb1"})
    late = snapshot(known(a=(900, 9)), START_US + 2 * HOUR_US)
    assert shares(probabilities(chosen, late, "*")) == {"a": 0.0, "b": 1.0}


def test_a_fixed_policy_has_no_cold_arms() -> None:
    chosen = bandit({"a": {}, "b": {}}, {"kind": "fixed", "weights": {"a": 0.5, "b": 0.5}})
    assert shares(probabilities(chosen, snapshot(known(a=(900, 9))), "*")) == {"a": 0.5, "b": 0.5}


def capped(
    weights: list[float], caps: list[float], floor: float = 0.0, default: int | None = 0, alone: Any = None
) -> list[float]:
    return [pytest.approx(each, abs=1e-12) for each in apply_caps(weights, floor, caps, default, alone)]


def test_what_a_cap_cuts_off_goes_to_the_others_in_proportion() -> None:
    """0.6 is cut to 0.1. The others had 0.3 and 0.1, and get 0.9 in that proportion."""
    assert capped([0.6, 0.3, 0.1], [0.1, 1, 1]) == [0.1, 0.675, 0.225]


def test_an_arm_that_exceeds_its_cap_by_what_others_gave_is_capped_too() -> None:
    """0.6 is cut to 0.1, which gives (0.1, 0.675, 0.225). 0.675 is cut to 0.5, and the last arm gets the rest."""
    assert capped([0.6, 0.3, 0.1], [0.1, 0.5, 1]) == [0.1, 0.5, 0.4]


def test_if_every_arm_is_capped_the_default_arm_takes_the_rest() -> None:
    assert capped([0.6, 0.3, 0.1], [0.1, 0.2, 0.3], default=1) == [0.1, 0.6, 0.3]
    assert capped([0.6, 0.3, 0.1], [0.1, 0.2, 0.1], default=None) == [0.25, 0.5, 0.25]
    assert capped([1.0], [0.1], default=None) == [1]


def test_a_cap_prevails_over_a_floor() -> None:
    """p = 0.1 + 0.7 w = (0.1, 0.31, 0.59). The first arm is cut to 0.05, and the others grow by 0.95 / 0.9."""
    assert capped([0.0, 0.3, 0.7], [0.05, 1, 1], floor=0.1) == [0.05, 0.31 * 0.95 / 0.9, 0.59 * 0.95 / 0.9]


def test_a_deterministic_policy_gives_what_a_cap_cuts_off_to_its_second_choice() -> None:
    """UCB tries the new arm first. Among the others it chooses the second, and the floor is kept."""
    chosen = bandit({"a": {}, "b": {}, "c": {}}, {"kind": "ucb1", "floor": 0.01})
    rows = snapshot(known(a=(9_000, 100), b=(9_000, 4_000)))
    assert shares(probabilities(chosen, rows, "*")) == {"a": 0.01, "b": 0.89, "c": 0.1}


VECTORS = st.lists(st.floats(0, 1), min_size=1, max_size=8).filter(lambda each: sum(each) > 1e-6)


@settings(max_examples=200)
@given(vector=VECTORS, data=st.data())
def test_probabilities_sum_to_one_and_keep_caps_and_floors(vector: list[float], data: st.DataObject) -> None:
    w = np.array(vector) / sum(vector)
    k = len(w)
    caps = np.array(data.draw(st.lists(st.sampled_from([0.01, 0.1, 0.3, 1.0]), min_size=k, max_size=k)))
    floor = data.draw(st.floats(0, 1)) / k
    default = data.draw(st.integers(0, k - 1))
    p = np.array(apply_caps(w.tolist(), floor, caps.tolist(), default, lambda arms: [1 / len(arms)] * len(arms)))
    assert p.sum() == pytest.approx(1, abs=1e-12)
    others = np.arange(k) != default
    assert (p[others] <= caps[others] + 1e-12).all()
    assert (p >= np.minimum(floor, caps) - 1e-12).all()
    if p[default] > caps[default] + 1e-12:
        assert p[others] == pytest.approx(caps[others])


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.tuples(st.integers(0, 10**7), st.floats(0, 1), st.integers(0, 50)), min_size=1, max_size=5),
    kind=st.sampled_from(["thompson_beta", "thompson_gaussian", "top_two", "ucb1", "ucb_tuned"]),
    floor=st.floats(0, 0.2),
    u=st.floats(0, 1, exclude_max=True),
    reverse=st.booleans(),
)
def test_every_snapshot_gives_a_vector_that_draws_arms_with_a_propensity(
    counts: list[tuple[int, float, int]], kind: str, floor: float, u: float, reverse: bool
) -> None:
    names = "abcde"[: len(counts)]
    rows = {
        ("*", name, 1): Row(n, n * mean, n * mean**2, pending)
        for name, (n, mean, pending) in zip(names, counts, strict=True)
    }
    order = names[::-1] if reverse else names
    chosen = bandit({name: {} for name in order}, {"kind": kind, "floor": floor})
    found = probabilities(chosen, snapshot(rows), "*")
    assert found.arms == tuple(names)
    assert sum(found.p) == pytest.approx(1, abs=1e-12)
    assert all(0 <= p <= 1 for p in found.p)
    assert list(found.cumulative) == sorted(found.cumulative)
    assert found.cumulative[-1] == 1
    position = found.draw(u)
    assert found.p[position] > 0
    assert found.cumulative[position] > u
    assert position == 0 or found.cumulative[position - 1] <= u


def test_a_draw_is_the_first_arm_whose_cumulative_probability_exceeds_u() -> None:
    chosen = bandit({name: {} for name in "abcd"}, {"kind": "fixed", "weights": {"a": 0.25, "c": 0.75}})
    found = probabilities(chosen, None, "*")
    assert found.cumulative == (0.25, 0.25, 1.0, 1.0)
    assert [found.draw(u) for u in (0.0, 0.2499, 0.25, 1 - 2**-53)] == [0, 0, 2, 2]


def test_features_of_a_request_decide_under_a_linear_policy() -> None:
    chosen = bandit({"a": {}, "b": {}}, {"kind": "lints"}, features=[{"name": "age", "type": "numeric"}])
    prepared = allocate(chosen, None, "*")
    assert prepared.plain is None
    assert prepared.probabilities(np.array([[3.0], [1.0]])).p == pytest.approx((0.5, 0.5), abs=1e-6)
    with pytest.raises(ValueError, match="needs the features of every arm"):
        probabilities(chosen, None, "*")


def test_allocations_are_kept_up_to_a_memory() -> None:
    """Four arms of a linear policy have 4 matrices of 64 x 64 numbers: 128 KiB."""
    features = [{"name": "c", "type": "categorical", "buckets": 63}]
    four: dict[str, dict[str, Any]] = {name: {} for name in "abcd"}
    linear = bandit(four, {"kind": "lints"}, features=features)
    found = allocate(linear, None, "*")
    assert found.prepared is not None and found.prepared.posterior is not None
    assert found.prepared.posterior.inverse.nbytes == 128 << 10
    assert found.prepared.statistics.xtx is None
    assert [how_many(linear, size, 100) for size in (1, 10 * (128 << 10), 1 << 30)] == [1, 10, 100]
    other = bandit(four, {"kind": "thompson_beta"}, features=features)
    assert how_many(other, 1, 100) == 100
    assert statistics_of(other, None, "*", "abcd").xtx is None
