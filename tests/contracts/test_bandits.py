"""Bandits of a document: defaults, every contradiction by its sentence, and what the hashes depend on."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from serving_client.contracts.bandits import (
    Bandit,
    Bandits,
    BanditsError,
    Cold,
    Feature,
    Holdback,
    Ramp,
    attribution_key,
    check_disorder,
    config_hash,
    feature_schema,
    feature_width,
)
from serving_client.contracts.bandits_document import bandits_of
from serving_client.contracts.canonical import canonical_json

HOUR_US = 3_600_000_000

SMALLEST: dict[str, Any] = {
    "policy_epoch": 1,
    "default_arm": "cf",
    "arms": {"cf": {"generation": 1, "model": "cf"}, "vae": {"generation": 2, "model": "vae"}},
    "policy": {"kind": "thompson_beta"},
    "attribution": {"window": "30m", "allowed_lateness": "1h"},
}
FEATURES = [
    {"name": "country", "type": "categorical", "buckets": 8},
    {"name": "age", "type": "numeric", "scale": 10, "max": 5, "from": "user"},
    {"name": "is_new", "type": "bool", "from": "item"},
]

MODEL_FEATURES = [
    {"name": "deep", "type": "bool", "from": "model"},
    {"name": "size", "type": "numeric", "from": "model"},
    {"name": "age", "type": "numeric"},
]


def bandit(**changes: Any) -> Bandit:
    return bandits_of({"bandits": {"home_row": {**SMALLEST, **changes}}}, "bandits.yaml").bandits["home_row"]


def arms(**changes: dict[str, Any]) -> dict[str, Any]:
    """The two arms, with changes by arm."""
    return {name: {**arm, **changes.get(name, {})} for name, arm in SMALLEST["arms"].items()}


def attribution(**changes: Any) -> dict[str, Any]:
    return {**SMALLEST["attribution"], **changes}


def test_what_the_file_leaves_out_has_its_default() -> None:
    plain = bandit()
    assert plain.bandit_id == "home_row"
    assert plain.policy == {"kind": "thompson_beta", "floor": 0.0}
    assert plain.prior == {"cf": (1.0, 1.0), "vae": (1.0, 1.0)}
    assert plain.attribution.window_us == HOUR_US // 2
    assert plain.attribution.max_future_us == 60_000_000
    assert (plain.attribution.aggregate, plain.attribution.denominator) == ("any", "decisions")
    assert plain.attribution.reward_kinds == ("click",)
    assert (plain.max_segments, plain.hours_kept) == (1_000, 168)
    assert plain.retain_generations_us == 30 * 24 * HOUR_US
    assert (plain.segments, plain.half_lives, plain.features, plain.guardrails) == ((), {}, (), ())
    assert plain.staleness == {"fresh": 120_000_000, "hard": HOUR_US}
    assert plain.shrinkage == {"min_n": 0}
    assert (plain.sticky, plain.salt) == (False, "home_row")
    assert (plain.cold, plain.holdback) == (Cold(500, 0.1), None)
    assert all(arm.attributes == {} for arm in plain.arms.values())
    assert [(arm.state, arm.version_label, arm.ramp) for arm in plain.arms.values()] == [("active", None, None)] * 2


@pytest.mark.parametrize(
    ("policy", "prior"),
    [
        ({"kind": "thompson_beta"}, (1.0, 1.0)),
        ({"kind": "thompson_gaussian"}, (0.0, 1.0)),
        ({"kind": "epsilon_greedy", "epsilon": 0.1}, (0.0, 0.0)),
        ({"kind": "ucb1"}, (0.0, 0.0)),
        ({"kind": "ucb_tuned"}, (0.0, 0.0)),
        ({"kind": "top_two"}, (1.0, 1.0)),
        ({"kind": "softmax", "temperature": 0.1}, (0.0, 0.0)),
        ({"kind": "linucb"}, None),
        ({"kind": "lints"}, None),
        ({"kind": "fixed", "weights": {"cf": 1}}, None),
    ],
)
def test_every_arm_has_the_prior_of_the_policys_kind(policy: dict[str, Any], prior: tuple[float, float] | None) -> None:
    made = bandit(policy=policy, features=FEATURES)
    assert made.prior == ({} if prior is None else {"cf": prior, "vae": prior})


def test_an_arm_without_a_written_prior_keeps_the_default() -> None:
    assert bandit(prior={"vae": [2, 3]}).prior == {"cf": (1.0, 1.0), "vae": (2.0, 3.0)}


def test_top_two_divides_its_draws_evenly_and_ucb_tuned_explores_as_its_paper_says() -> None:
    assert bandit(policy={"kind": "top_two"}).policy == {"kind": "top_two", "floor": 0.0, "beta": 0.5}
    assert bandit(policy={"kind": "ucb_tuned"}).policy == {"kind": "ucb_tuned", "floor": 0.0, "exploration": 1.0}


def test_cold_arms_a_holdback_and_attributes_are_read() -> None:
    made = bandit(
        cold={"min_n": 10},
        holdback={"share": 0.05, "arm": "vae"},
        features=[{"name": "deep", "type": "bool", "from": "model"}],
        arms=arms(cf={"attributes": {"deep": False}}, vae={"attributes": {"deep": True}}),
    )
    assert made.cold == Cold(min_n=10, share=0.1)
    assert made.holdback == Holdback(share=0.05, arm="vae")
    assert made.arms["vae"].attributes == {"deep": True}


def test_no_arm_needs_an_attribute_and_an_arm_that_is_not_active_may_lack_one() -> None:
    features = [{"name": "deep", "type": "bool", "from": "model"}]
    old = {"old": {"generation": 1, "model": "cf", "state": "retired"}}
    assert bandit(features=features)
    written = {"attributes": {"deep": True}}
    assert bandit(features=features, arms={**arms(cf=written, vae=written), **old})


def test_ramps_features_guardrails_and_earlier_generations_are_read() -> None:
    ramp = {
        "started_at": "1970-01-01T01:00:00Z",
        "steps": [{"after": "0s", "share": 0.05}, {"after": "1h", "share": 1}],
    }
    made = bandit(
        arms=arms(vae={"ramp": ramp, "prior_from": {"generation": 1, "weight": 0.1}, "state": "active"}),
        features=FEATURES,
        guardrails=[{"metric": "reward", "arm": "vae", "against": "cf", "min": -0.01}, {"metric": "kind:x", "max": 1}],
    )
    assert made.arms["vae"].ramp == Ramp(HOUR_US, ((0, 0.05), (HOUR_US, 1.0)))
    assert made.prior_from == {"vae": {"generation": 1, "weight": 0.1}}
    assert made.features[0] == Feature("country", "categorical", "user", buckets=8)
    assert made.features[1] == Feature("age", "numeric", "user", scale=10.0, max=5.0)
    assert made.guardrails[1] == {"metric": "kind:x", "max": 1, "arm": "*", "alpha": 0.01, "min_n": 100}


def test_bandits_travel_to_workers() -> None:
    made = Bandits({"home_row": bandit(features=FEATURES)})
    assert pickle.loads(pickle.dumps(made)) == made


ONE_SHARE = {
    "started_at": "1970-01-01T00:00:00Z",
    "steps": [{"after": "1h", "share": 0.1}, {"after": "1h", "share": 1}],
}
CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    (
        {"policy": {"kind": "thompson_beta", "floor": 0.6}},
        "home_row.policy.floor 0.6 times 2 arms exceeds 1; use 0.5 or less",
    ),
    (
        {"attribution": attribution(aggregate="first")},
        "home_row.attribution.aggregate first can leave [0, 1], but policy.kind thompson_beta needs [0, 1]; "
        "use aggregate any or kind thompson_gaussian",
    ),
    ({"attribution": attribution(aggregate="sum")}, "aggregate sum can leave [0, 1]"),
    ({"attribution": attribution(aggregate="max")}, "aggregate max can leave [0, 1]"),
    ({"default_arm": "cff"}, "home_row.default_arm cff is not an active arm; use one of cf, vae"),
    ({"arms": arms(cf={"state": "draining"})}, "home_row.default_arm cf is not an active arm; use one of vae"),
    (
        {"arms": arms() | {"popularity": {"generation": 1, "model": "cf"}}},
        "home_row.arms.popularity: this name stands for popular items, which are shown if no arm answers; rename",
    ),
    ({"arms": arms(cf={"ramp": ONE_SHARE})}, "home_row.arms.cf.ramp.steps are out of order"),
    (
        {"arms": arms(cf={"ramp": {**ONE_SHARE, "steps": [{"after": "1h", "share": 0.1}]}})},
        "home_row.arms.cf.ramp: the default arm takes the rest",
    ),
    (
        {"arms": arms(vae={"ramp": {**ONE_SHARE, "started_at": "2026-02-31T00:00:00Z"}})},
        "home_row: day is out of range for month",
    ),
    (
        {"arms": arms(vae={"prior_from": {"generation": 2, "weight": 0.1}})},
        "home_row.arms.vae.prior_from.generation 2 is not before the arm's generation 2",
    ),
    (
        {"policy": {"kind": "linucb"}, "features": FEATURES,
         "arms": arms(vae={"prior_from": {"generation": 1, "weight": 0.1}})},
        "home_row.arms.vae.prior_from: policy.kind linucb does not use a prior",
    ),
    ({"attribution": attribution(window="0s")}, "home_row.attribution.window is 0"),
    ({"attribution": attribution(window="4000d")}, "home_row.attribution.window is longer than 3650d"),
    ({"retain_generations": "99999d"}, "home_row.retain_generations is longer than 3650d"),
    ({"half_lives": ["10ms"]}, "home_row.half_lives 10ms is shorter than 1s"),
    ({"half_lives": ["1h", "60m"]}, "home_row.half_lives 1h, 60m list one duration twice"),
    ({"staleness": {"fresh": "2h"}}, "home_row.staleness.fresh 2h is longer than staleness.hard 1h"),
    ({"features": [FEATURES[2], FEATURES[2]]}, "home_row.features lists is_new twice"),
    (
        {"features": [{"name": f"f{at}", "type": "categorical", "buckets": 200} for at in range(3)]},
        "home_row.features make a vector of 603 numbers",
    ),
    (
        {"policy": {"kind": "top_two"}, "attribution": attribution(aggregate="sum")},
        "home_row.attribution.aggregate sum can leave [0, 1], but policy.kind top_two needs [0, 1]",
    ),
    ({"policy": {"kind": "top_two"}, "prior": {"cf": [1, 0]}}, "home_row.prior.cf [1, 0] is not a Beta distribution"),
    (
        {"holdback": {"share": 0.1, "arm": "old"}, "arms": arms(vae={"state": "draining"})},
        "home_row.holdback.arm old is not an active arm; use one of cf",
    ),
    (
        {"arms": arms(cf={"attributes": {"deep": True}})},
        "home_row.arms.cf.attributes.deep is not a feature with `from: model`; add the feature",
    ),
    (
        {"features": MODEL_FEATURES, "arms": arms(cf={"attributes": {"dep": True}})},
        "home_row.arms.cf.attributes.dep is not a feature with `from: model`; use one of deep, size",
    ),
    (
        {"features": MODEL_FEATURES, "arms": arms(cf={"attributes": {"deep": 1}})},
        "home_row.arms.cf.attributes.deep 1 is not true or false; correct it",
    ),
    (
        {"features": MODEL_FEATURES, "arms": arms(cf={"attributes": {"size": True}})},
        "home_row.arms.cf.attributes.size true is not a number; correct it",
    ),
    (
        {"features": MODEL_FEATURES, "arms": arms(cf={"attributes": {"size": 1.5}})},
        "home_row.arms.vae.attributes.size is missing, and arm cf has it; add it",
    ),
    ({"policy": {"kind": "lints"}}, "home_row.policy.kind lints needs features and the bandit has none"),
    ({"policy": {"kind": "ucb1", "half_life": "1h"}}, "home_row.policy.half_life 1h is not in half_lives"),
    (
        {"policy": {"kind": "ucb1", "half_life": "1h"}, "half_lives": ["60m"]},
        "home_row.policy.half_life 1h is not in half_lives",
    ),
    ({"policy": {"kind": "ucb1", "hours": 169}}, "home_row.policy.hours 169 is more than hours_kept 168"),
    (
        {"policy": {"kind": "ucb1", "hours": 1, "half_life": "1h"}, "half_lives": ["1h"]},
        "home_row.policy has both half_life and hours",
    ),
    ({"policy": {"kind": "fixed", "weights": {"cf": 0.5}}}, "home_row.policy.weights add up to 0.5; make them add"),
    ({"policy": {"kind": "fixed", "weights": {"c": 1}}}, "home_row.policy.weights.c does not belong to an active arm"),
    ({"prior": {"c": [1, 1]}}, "home_row.prior.c does not belong to an arm; the arms are cf, vae"),
    ({"prior": {"cf": [1, 0]}}, "home_row.prior.cf [1, 0] is not a Beta distribution"),
    ({"policy": {"kind": "ucb1"}, "prior": {"cf": [0, -1]}}, "home_row.prior.cf [0, -1] has a weight of -1"),
    ({"policy": {"kind": "thompson_gaussian"}, "prior": {"cf": [0, 0]}}, "has a weight of 0; make it greater than 0"),
    (
        {"policy": {"kind": "fixed", "weights": {"cf": 1}}, "prior": {"cf": [1, 1]}},
        "home_row.prior: policy.kind fixed does not use a prior; remove it",
    ),
    ({"guardrails": [{"metric": "reward"}]}, "home_row.guardrails[0] has neither max nor min; set one of them"),
    ({"guardrails": [{"metric": "reward", "max": 1, "min": 0}]}, "home_row.guardrails[0] has both max and min"),
    ({"guardrails": [{"metric": "reward", "max": 1, "arm": "x"}]}, "guardrails[0].arm x is not an arm; use one of *"),
    ({"guardrails": [{"metric": "reward", "max": 1, "arm": "cf"}]}, "guardrails[0].arm cf is the default arm"),
    ({"guardrails": [{"metric": "reward", "max": 1, "against": "x"}]}, "guardrails[0].against x is not an arm"),
    (
        {"guardrails": [{"metric": "reward", "max": 1, "arm": "vae", "against": "vae"}]},
        "guardrails[0].against vae is the same arm",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "sentence"), CONTRADICTIONS, ids=[sentence for _, sentence in CONTRADICTIONS])
def test_a_contradiction_is_one_sentence_with_its_place(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BanditsError) as error:
        bandit(**changes)
    assert str(error.value).startswith("bandits.yaml: home_row")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_arms_that_get_no_decisions_take_no_floor() -> None:
    retired = {f"old{at}": {"generation": 1, "model": "cf", "state": "retired"} for at in range(5)}
    assert bandit(arms={**SMALLEST["arms"], **retired}, policy={"kind": "thompson_beta", "floor": 0.5})


@pytest.mark.parametrize("count", range(1, 60))
def test_a_floor_of_exactly_one_over_the_arms_fits(count: int) -> None:
    many = {f"a{at}": {"generation": 1, "model": "cf"} for at in range(count)}
    assert bandit(arms=many, default_arm="a0", policy={"kind": "ucb1", "floor": 1 / count})


def test_disorder_that_is_waited_for_is_not_late() -> None:
    bandits = Bandits({"home_row": bandit(attribution=attribution(allowed_lateness="5s"))})
    check_disorder(bandits, 5_000_000)
    with pytest.raises(
        BanditsError, match=r"home_row\.attribution\.allowed_lateness 5s is less than --max_disorder 6s"
    ):
        check_disorder(bandits, 6_000_000)


def test_the_attribution_key_has_exactly_what_counting_depends_on() -> None:
    key = attribution_key(bandit(segments=["plan"], half_lives=["1h"], features=FEATURES))
    assert set(key) == {
        "window", "allowed_lateness", "max_future", "aggregate", "denominator", "reward_kinds", "segments",
        "max_segments", "half_lives", "hours_kept", "features",
    }  # fmt: skip
    canonical_json(key)  # or it could not be saved


COUNTING: list[dict[str, Any]] = [
    {"attribution": attribution(window="31m")}, {"attribution": attribution(allowed_lateness="2h")},
    {"attribution": attribution(max_future="1s")}, {"attribution": attribution(denominator="impressions")},
    {"attribution": attribution(reward_kinds=["buy"])}, {"segments": ["plan"]}, {"max_segments": 5},
    {"half_lives": ["1h"]}, {"hours_kept": 24}, {"features": FEATURES},
    {"attribution": attribution(aggregate="sum"), "policy": {"kind": "ucb1"}},
]  # fmt: skip
DECIDING: list[dict[str, Any]] = [
    {"policy": {"kind": "ucb1"}}, {"policy": {"kind": "thompson_beta", "floor": 0.1}}, {"prior": {"cf": [2, 1]}},
    {"default_arm": "vae"}, {"arms": arms(vae={"generation": 3})}, {"arms": arms(vae={"state": "draining"})},
    {"sticky": True}, {"salt": "s"}, {"staleness": {"fresh": "1m"}}, {"shrinkage": {"min_n": 5}},
    {"retain_generations": "1d"}, {"guardrails": [{"metric": "reward", "min": 0}]}, {"policy_epoch": 2},
    {"cold": {"min_n": 5}}, {"cold": {"share": 1}}, {"holdback": {"share": 0.1, "arm": "cf"}},
]  # fmt: skip


@pytest.mark.parametrize("changes", COUNTING, ids=str)
def test_another_way_of_counting_is_another_key_and_another_hash(changes: dict[str, Any]) -> None:
    assert attribution_key(bandit(**changes)) != attribution_key(bandit())
    assert config_hash(bandit(**changes)) != config_hash(bandit())


@pytest.mark.parametrize("changes", DECIDING, ids=str)
def test_another_way_of_deciding_is_another_hash_under_the_same_key(changes: dict[str, Any]) -> None:
    assert attribution_key(bandit(**changes)) == attribution_key(bandit())
    assert config_hash(bandit(**changes)) != config_hash(bandit())


def test_what_means_the_same_has_the_same_key_and_hash() -> None:
    written_out = bandit(
        attribution=attribution(window="0.5h", max_future="1m", reward_kinds=["click"]),
        policy={"kind": "thompson_beta", "floor": 0},
        prior={"vae": [1, 1.0]},
        arms=dict(reversed(arms(cf={"state": "active"}).items())),
        staleness={"hard": "60m"},
        cold={"min_n": 500, "share": 0.1},
        max_segments=1_000.0,
    )
    assert attribution_key(written_out) == attribution_key(bandit())
    assert config_hash(written_out) == config_hash(bandit())
    assert len(config_hash(written_out)) == 64


def test_kinds_of_rewards_are_a_set() -> None:
    one, other = (bandit(attribution=attribution(reward_kinds=kinds)) for kinds in (["a", "b"], ["b", "a"]))
    assert attribution_key(one) == attribution_key(other)


def test_a_vector_has_a_number_per_feature_and_per_bucket_and_one_for_a_missing_category() -> None:
    """8 buckets + 1 for unknown and missing values + 1 numeric + 1 bool = 11."""
    assert feature_width(bandit(features=FEATURES)) == 11
    assert feature_width(bandit()) == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda features: features.reverse(),
        lambda features: features.pop(),
        lambda features: features[0].update(buckets=9),
        lambda features: features[1].update(scale=11),
        lambda features: features[1].update(max=6),
        lambda features: features[2].update({"from": "user"}),
        lambda features: features[2].update(name="is_old"),
    ],
)
def test_another_meaning_of_a_vector_is_another_schema(change: Callable[[list[dict[str, Any]]], Any]) -> None:
    features = copy.deepcopy(FEATURES)
    change(features)
    assert feature_schema(bandit(features=features)) != feature_schema(bandit(features=FEATURES))


def test_attributes_change_the_hash_and_neither_the_key_nor_the_schema() -> None:
    one, other = (
        bandit(
            features=MODEL_FEATURES, arms=arms(cf={"attributes": {"deep": deep}}, vae={"attributes": {"deep": True}})
        )
        for deep in (True, False)
    )
    assert config_hash(one) != config_hash(other)
    assert attribution_key(one) == attribution_key(other)
    assert feature_schema(one) == feature_schema(other)


def test_statistics_of_vectors_without_a_place_for_a_missing_category_are_refused() -> None:
    categorical, numeric = attribution_key(bandit(features=FEATURES[:2]))["features"]
    assert categorical["width"] == 9
    assert "width" not in numeric


def test_a_schema_depends_on_features_alone() -> None:
    one = bandit(features=FEATURES)
    assert feature_schema(one) == feature_schema(dataclasses.replace(one, policy_epoch=9, max_segments=1))
