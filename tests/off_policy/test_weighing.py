"""Weights, unsupported mass and the reward model, on logs whose answers are worked out by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from pipelines.off_policy.log_facts import FOLDS, LogFacts, facts_of
from pipelines.off_policy.reward_model import RewardModel
from pipelines.off_policy.selection import Selection, select
from pipelines.off_policy.weighing import Weighed, weigh
from pipelines.off_policy.weight_bins import bin_of
from transforms.attribution.joined.join import JoinedDecisions


@dataclasses.dataclass(frozen=True)
class Fixed:
    """Draws with given chances, restricted to the eligible arms."""

    chances: Mapping[str, float]
    generations: Mapping[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys("abcz", 1))
    needs_context: bool = False
    name: str = "fixed"

    @property
    def arms(self) -> Collection[str]:
        return self.chances.keys()

    def probabilities(self, segment: str, eligible: Collection[str] | None, context: str | None) -> Mapping[str, float]:
        left = {arm: p for arm, p in self.chances.items() if eligible is None or arm in eligible}
        total = sum(left.values())
        return {arm: p / total for arm, p in left.items()}


def block(*rows: dict[str, Any]) -> pa.RecordBatch:
    """Selected decisions; each row changes the first draw of a at 0.5.

    support: the propensities, or the eligible arms, or a tuple of eligible arms and propensities.
    """
    plain = {
        "segment": "*", "arm_id": "a", "arm_generation": 1, "propensity": 0.5, "decided_at_us": 0, "reward": 0.0,
        "unit": 0, "support": None, "context": None,
    }  # fmt: skip
    filled = [plain | {"unit": number} | row for number, row in enumerate(rows)]
    columns = {name: [row[name] for row in filled] for name in plain}
    columns["support"] = [None if each is None else orjson.dumps(pair(each)).decode() for each in columns["support"]]
    types = {
        "segment": pa.string(), "arm_id": pa.string(), "arm_generation": pa.int64(), "propensity": pa.float64(),
        "decided_at_us": pa.int64(), "reward": pa.float64(), "unit": pa.uint64(), "support": pa.string(),
        "context": pa.string(),
    }  # fmt: skip
    arrays = {name: pa.array(column, types[name]) for name, column in columns.items()}
    for name in ("segment", "arm_id"):
        arrays[name] = arrays[name].dictionary_encode()
    return pa.record_batch(arrays)


def pair(support: Any) -> tuple[Any, Any]:
    if isinstance(support, tuple):
        return support
    return (None, support) if isinstance(support, dict) else (support, None)


def weighed(target: Fixed, *rows: dict[str, Any]) -> Weighed:
    decisions = block(*rows)
    facts = facts_of(decisions, target.generations)
    return weigh(decisions, facts, RewardModel(facts.cells), target)


def test_a_weight_is_the_ratio_of_the_probabilities() -> None:
    """The target draws b with 0.75; the log drew a with 0.8 and b with 0.2, and logged both."""
    p = {"a": 0.8, "b": 0.2}
    found = weighed(
        Fixed({"a": 0.25, "b": 0.75}),
        {"arm_id": "a", "propensity": 0.8, "support": p},
        {"arm_id": "b", "propensity": 0.2, "support": p},
    )
    assert found.weight.tolist() == [0.3125, 3.75]
    assert found.largest.tolist() == [3.75, 3.75]
    assert found.unsupported.tolist() == [0.0, 0.0]
    assert dict(zip(found.arms, found.mass.tolist(), strict=True)) == {"a": 0.5, "b": 1.5}
    expected = np.zeros(33)
    expected[bin_of(np.array([0.3125, 3.75]))] = 0.5, 1.5
    assert found.mass_by_bin.tolist() == expected.tolist()


def test_an_arm_that_was_eligible_with_probability_0_is_unsupported() -> None:
    found = weighed(
        Fixed({"a": 0.6, "b": 0.4}), {"support": {"a": 1.0, "b": 0.0}}, {"arm_id": "b", "support": {"a": 0.5, "b": 0.5}}
    )
    assert found.unsupported.tolist() == [0.4, 0.0]
    assert dict(zip(found.arms, found.mass_unsupported.tolist(), strict=True)) == {"a": 0.0, "b": 0.4}


def test_a_tiny_probability_is_no_support() -> None:
    """Softmax logs 1e-310, whose inverse is infinite."""
    found = weighed(
        Fixed({"a": 0.75, "b": 0.25}),
        {"support": {"a": 1.0, "b": 1e-310}, "propensity": 1.0},
        {"support": {"a": 1.0, "b": 1e-9}, "propensity": 1.0},
    )
    assert found.unsupported.tolist() == [0.25, 0.0]
    assert found.largest.tolist() == [0.75, pytest.approx(0.25e9)]


def test_an_arm_that_was_eligible_and_had_no_probability_is_unsupported() -> None:
    """A router logs such arms among eligible_arms alone: those that a guardrail stopped, or whose ramp is at 0."""
    found = weighed(
        Fixed({"a": 0.6, "b": 0.4}),
        {"support": (["a", "b"], {"a": 1.0})},
        {"support": (["a", "b"], {"a": 0.5, "b": 0.5}), "arm_id": "b"},
        {"support": (["a"], {"a": 1.0}), "propensity": 1.0},
    )
    assert found.unsupported.tolist() == [0.4, 0.0, 0.0]
    assert found.weight.tolist() == [1.2, 0.8, 1.0]


@pytest.mark.parametrize("support", [["a"], {"a": 1.0}, (["a"], {"a": 1.0})])
def test_an_arm_that_the_request_left_out_is_left_out_of_the_target(support: Any) -> None:
    """Arm b is there before and after, so its absence in between is the request's."""
    both = {"support": ["a", "b"]}
    found = weighed(
        Fixed({"a": 0.25, "b": 0.75}),
        both,
        {"decided_at_us": 5, "propensity": 1.0, "support": support},
        both | {"arm_id": "b", "decided_at_us": 9},
    )
    assert found.weight.tolist() == [0.5, 1.0, 1.5]
    assert found.unsupported.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("support", [["a"], {"a": 0.5}])
def test_an_arm_that_the_log_could_not_draw_yet_or_any_more_is_unsupported(support: Any) -> None:
    """Arm b is there from 10 to 20 only: before and after, the target's 0.75 on b has no support."""
    both = {"support": ["a", "b"]}
    found = weighed(
        Fixed({"a": 0.25, "b": 0.75}),
        {"support": support, "decided_at_us": 9},
        both | {"arm_id": "b", "decided_at_us": 10},
        both | {"decided_at_us": 15},
        both | {"arm_id": "b", "decided_at_us": 20},
        {"support": support, "decided_at_us": 21},
    )
    assert found.unsupported.tolist() == [0.75, 0.0, 0.0, 0.0, 0.75]
    assert found.weight.tolist() == [0.5, 1.5, 0.5, 1.5, 0.5]


def test_without_chances_and_eligible_arms_every_arm_that_the_log_draws_is_believed_to_be_there() -> None:
    target = Fixed({"a": 0.25, "b": 0.5, "z": 0.25})
    found = weighed(target, {"decided_at_us": 9}, {"arm_id": "b", "decided_at_us": 10}, {"decided_at_us": 21})
    assert found.unsupported.tolist() == [0.25, 0.25, 0.25]
    assert found.weight.tolist() == [0.5, 1.0, 0.5]


def test_an_arm_that_the_log_never_drew_is_unsupported_everywhere() -> None:
    found = weighed(Fixed({"a": 0.9, "z": 0.1}), {"support": ["a"]}, {"support": None})
    assert found.unsupported == pytest.approx([0.1, 0.1])


def test_decisions_of_another_generation_are_no_support_for_the_present_one() -> None:
    """Arm b was generation 1 until 10; the target shows generation 2."""
    target = Fixed({"a": 0.5, "b": 0.5}, {"a": 1, "b": 2})
    both = {"support": {"a": 0.5, "b": 0.5}}
    found = weighed(
        target,
        both | {"arm_id": "b", "arm_generation": 1, "decided_at_us": 10, "reward": 1.0},
        both | {"decided_at_us": 5},
        both | {"arm_id": "b", "arm_generation": 2, "decided_at_us": 11},
    )
    assert found.weight.tolist() == [0.0, 1.0, 1.0]
    assert found.unsupported.tolist() == [0.5, 0.5, 0.0]


def test_decisions_before_every_present_generation_are_no_support() -> None:
    """Nothing says which arms were eligible. After its last draw of generation 1, a is believed to be generation 2."""
    found = weighed(
        Fixed({"a": 0.25, "b": 0.75}, {"a": 2, "b": 2}),
        {"arm_id": "a", "arm_generation": 1, "decided_at_us": 1},
        {"arm_id": "b", "arm_generation": 1, "decided_at_us": 2},
        {"arm_id": "a", "arm_generation": 2, "decided_at_us": 5},
        {"arm_id": "b", "arm_generation": 2, "decided_at_us": 8},
    )
    assert found.weight.tolist() == [0.0, 0.0, 0.5, 1.5]
    assert found.unsupported.tolist() == [1.0, 0.75, 0.0, 0.0]


def test_the_reward_model_shrinks_a_cell_to_its_arm_and_the_arm_to_all() -> None:
    """Fold 0 is judged by 40 decisions of a in s (20 rewards) and 20 of b (none).

    All: 20 / 60. Arm a: (20 + 20/3) / 60 = 4/9. Cell: (20 + 20 * 4/9) / 60 = 13/27. Arm b in s: (20/3) / 40 = 1/6 of
    the arm, and the cell has 20 decisions: (20 / 6) / 40 = 1/12. A new arm has the mean of all.
    """
    cells = {(1, "s", "a"): (40, 20_000_000), (2, "s", "b"): (20, 0), (0, "s", "a"): (1_000, 0)}
    model = RewardModel(cells)
    assert model.predict("s", "a")[0] == pytest.approx(13 / 27)
    assert model.predict("s", "b")[0] == pytest.approx(1 / 12)
    assert model.predict("t", "b")[0] == pytest.approx(1 / 6)
    assert model.predict("s", "new")[0] == pytest.approx(1 / 3)
    assert model.predict("s", "a")[1] < 0.02  # without its own fold only the thousand zeros are left
    assert RewardModel({}).predict("s", "a").tolist() == [0.0] * FOLDS


def test_direct_is_the_targets_mean_of_the_model_by_the_decisions_fold() -> None:
    rows = [{"arm_id": arm, "reward": float(arm == "a"), "unit": unit} for unit in range(10) for arm in "ab"]
    target = Fixed({"a": 0.25, "b": 0.75})
    facts = facts_of(block(*rows), target.generations)
    model = RewardModel(facts.cells)
    found = weigh(block(*rows), facts, model, target)
    for row, unit in enumerate(found.unit.tolist()):
        q = {arm: model.predict("*", arm)[unit % FOLDS] for arm in "ab"}
        assert found.predicted[row] == q[rows[row]["arm_id"]]
        assert found.direct[row] == pytest.approx(0.25 * q["a"] + 0.75 * q["b"])


def test_facts_of_parts_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    rows = [
        {
            "arm_id": rng.choice(["a", "b"]), "arm_generation": int(rng.integers(1, 3)),
            "segment": rng.choice(["s", "t"]),
            "decided_at_us": int(rng.integers(100)), "reward": float(rng.integers(4)) / 10,
            "unit": int(rng.integers(2**63)), "support": [None, ["a", "b"], {"a": 0.5, "c": 0.5}][rng.integers(3)],
        }
        for _ in range(60)
    ]  # fmt: skip
    generations = {"a": 1, "b": 2, "c": 1}
    added = LogFacts()
    for part in (rows[40:], rows[:40]):
        added.merge(facts_of(block(*part), generations))
    assert added == facts_of(block(*rows), generations)
    assert sum(n for n, _ in added.cells.values()) == sum(
        row["arm_generation"] == generations[row["arm_id"]] for row in rows
    )
    assert set(added.spans) == {"a", "b", "c"}


def joined(*rows: dict[str, Any]) -> JoinedDecisions:
    plain = {
        "key": 1, "bandit_id": "row", "segment": "*", "arm_id": "a", "arm_generation": 1, "propensity": 0.5,
        "decided_at_us": 0, "outcome": "counted", "fallback": False, "reward": 0.0, "user_key": None, "rung": None,
        "holdback": False, "propensities": None, "eligible_arms": None, "context": None,
    }  # fmt: skip
    texts = ("user_key", "rung", "propensities", "eligible_arms", "context")
    arrays = {name: pa.array([(plain | row)[name] for row in rows]) for name in plain if name not in texts}
    arrays |= {name: pa.array([(plain | row)[name] for row in rows], pa.string()) for name in texts}
    for name in ("bandit_id", "segment", "arm_id", "outcome"):
        arrays[name] = arrays[name].dictionary_encode()
    return JoinedDecisions(pa.record_batch(arrays), pa.record_batch({}))


def test_every_decision_is_evaluated_or_left_out_for_its_first_reason() -> None:
    rows = joined(
        {"reward": 1.0}, {"fallback": True}, {"bandit_id": "other", "outcome": "bot"}, {"outcome": "bot"},
        {"outcome": "unexposed", "rung": "default"}, {"rung": "default", "holdback": True}, {"holdback": True},
        {"propensity": 0.0}, {"propensity": 1e-10}, {"rung": "disk"},
    )  # fmt: skip
    found = select(rows, Selection("row", by_user=False, exclude_fallbacks=False, with_context=False))
    assert found.counts == {
        "other_bandit": 1, "uncounted": 2, "rung_default": 1, "holdback": 1, "fallback": 0, "without_propensity": 2,
        "evaluated": 3, "fallbacks": 1, "without_user": 0,
    }  # fmt: skip
    assert found.decisions["reward"].to_pylist() == [1.0, 0.0, 0.0]
    stricter = select(rows, Selection("row", by_user=False, exclude_fallbacks=True, with_context=False))
    assert (stricter.counts["evaluated"], stricter.counts["fallback"], stricter.counts["fallbacks"]) == (2, 1, 0)


def test_decisions_of_a_user_are_one_unit() -> None:
    rows = joined({"user_key": "u", "key": 1}, {"user_key": "u", "key": 2}, {"key": 3}, {"user_key": "v", "key": 4})
    by_user = select(rows, Selection("row", by_user=True, exclude_fallbacks=False, with_context=False))
    unit = by_user.decisions["unit"].to_pylist()
    assert unit[0] == unit[1] and len(set(unit)) == 3 and unit[2] == 3
    assert by_user.counts["without_user"] == 1
    by_decision = select(rows, Selection("row", by_user=False, exclude_fallbacks=False, with_context=False))
    assert by_decision.decisions["unit"].to_pylist() == [1, 2, 3, 4]


def test_the_support_is_what_the_record_says_and_the_context_is_kept_where_it_is_needed() -> None:
    rows = joined(
        {"propensities": '{"a":1}', "eligible_arms": '["a","b"]', "context": '{"x":1}'}, {"eligible_arms": '["a"]'}
    )
    found = select(rows, Selection("row", by_user=False, exclude_fallbacks=False, with_context=True)).decisions
    assert found["support"].to_pylist() == ['[["a","b"],{"a":1}]', '[["a"],null]']
    assert found["context"].to_pylist() == ['{"x":1}', None]
