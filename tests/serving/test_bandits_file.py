"""The bandits file: every example is valid, every mistake is one sentence, and what may change under an epoch."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
import yaml

from serving_client.bandits_file import check_change, parse_bytes, read
from serving_client.contracts.bandits import Bandits, BanditsError
from serving_client.contracts.schemas import load

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples" / "bandits"

PLAIN = b"""
bandits:
  home_row:
    policy_epoch: 1
    default_arm: cf
    arms:
      cf:  {generation: 1, model: cf}
      vae: {generation: 1, model: vae, version_label: canary, state: active}   # active | draining | retired
    policy: {kind: thompson_beta, floor: 0.02}
    prior: {cf: [1, 1], vae: [1, 1]}
    attribution: {window: 30m, allowed_lateness: 1h, aggregate: any, denominator: decisions,
                  reward_kinds: [click], max_future: 60s}
    segments: [plan]            # context keys; "*" always exists beside them
    half_lives: [1h, 24h]
"""


def changed(**changes: Any) -> bytes:
    """PLAIN with other values; None removes a key."""
    entry = yaml.safe_load(PLAIN)["bandits"]["home_row"] | changes
    entry = {key: value for key, value in entry.items() if value is not None}
    return yaml.safe_dump({"bandits": {"home_row": entry}}).encode()


def parsed(**changes: Any) -> Bandits:
    return parse_bytes(changed(**changes), "bandits.yaml")


def fault(data: bytes) -> str:
    with pytest.raises(BanditsError) as error:
        parse_bytes(data, "bandits.yaml")
    message = str(error.value)
    assert message.startswith("bandits.yaml:")
    assert "\n" not in message
    return message.removeprefix("bandits.yaml:").strip()


def test_there_is_one_example_for_every_kind_of_policy() -> None:
    kinds = load("bandits")["$defs"]["policy"]["properties"]["kind"]["enum"]
    assert sorted(path.stem for path in EXAMPLES.glob("*.yaml")) == sorted(kinds)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_is_valid_and_of_the_kind_in_its_name(path: pathlib.Path) -> None:
    bandits = read(str(path))
    assert {bandit.policy["kind"] for bandit in bandits.bandits.values()} == {path.stem}


def test_the_file_of_the_contract_is_valid() -> None:
    bandit = parse_bytes(PLAIN, "bandits.yaml").bandits["home_row"]
    assert bandit.arms["vae"].version_label == "canary"
    assert bandit.half_lives == {"1h": 3_600_000_000, "24h": 86_400_000_000}


def test_equal_bytes_are_parsed_once() -> None:
    assert parse_bytes(PLAIN + b"# once", "bandits.yaml") is parse_bytes(PLAIN + b"# once", "bandits.yaml")


def test_a_file_that_cannot_be_read_is_one_sentence_with_its_name(tmp_path: pathlib.Path) -> None:
    with pytest.raises(BanditsError, match=r"^/.*/nowhere\.yaml: the file does not exist; correct the path$"):
        read(str(tmp_path / "nowhere.yaml"))
    with pytest.raises(BanditsError, match=r": cannot be read \(.*directory.*\); check the path and its permissions$"):
        read(str(tmp_path))


def test_a_time_needs_no_quotes() -> None:
    ramp = b"{generation: 1, model: vae, ramp: {started_at: 2026-11-24T06:00:00Z, steps: [{after: 1h, share: 0.05}]}}"
    data = PLAIN.replace(b"{generation: 1, model: vae, version_label: canary, state: active}", ramp)
    arm = parse_bytes(data, "bandits.yaml").bandits["home_row"].arms["vae"]
    assert arm.ramp is not None
    assert arm.ramp.started_at_us == 1_795_500_000_000_000


def test_anchors_and_merge_keys_work_and_may_be_overridden() -> None:
    data = PLAIN.replace(b"cf:  {generation: 1, model: cf}", b"cf: &arm {generation: 1, model: cf}").replace(
        b"vae: {generation: 1, model: vae, version_label: canary, state: active}", b"vae: {<<: *arm, model: vae}"
    )
    assert parse_bytes(data, "bandits.yaml").bandits["home_row"].arms["vae"].model == "vae"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (PLAIN.replace(b"vae: {gen", b"cf: {gen"), "8: key cf appears twice; correct the line"),
        (PLAIN + b"bandits: {}\n", "key bandits appears twice"),
        (PLAIN.replace(b"vae: {gen", b"no: {gen"), '8: key no is not a string in YAML; write "no"; correct the line'),
        (PLAIN.replace(b"vae: {gen", b"7: {gen"), '8: key 7 is not a string in YAML; write "7"; correct the line'),
        (PLAIN.replace(b"0.02", b".nan"), "9: .nan is not a finite number; correct the line"),
        (PLAIN.replace(b"0.02}", b"0.02"), "10: "),
        (
            PLAIN.replace(b"policy: {kind", b"policy: !!python/object:os.x {kind"),
            "9: could not determine a constructor",
        ),
        (b"bandits: \xff", "no YAML ("),
        (b"a: " + b"[" * 5_000, "nested too deeply"),
        (b"", "null is not a mapping with the one key `bandits`"),
        (b"bandits:", "bandits null is not a mapping"),
        (b"bandits: {}", "bandits is empty; name at least one"),
        (b"bandit: {}", "bandit is no key; did you mean bandits?"),
        (b"{}", "bandits is missing; add it"),
    ],
)
def test_what_is_no_bandits_file_is_one_sentence(data: bytes, sentence: str) -> None:
    assert sentence in fault(data)


ARM = {"generation": 1, "model": "cf"}
ATTRIBUTION = {"window": "30m", "allowed_lateness": "1h"}
MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"polcy": {}}, "home_row.polcy is no key; did you mean policy?"),
    ({"zzz": 1}, "home_row.zzz is no key; the keys here are policy_epoch, default_arm, arms, policy"),
    ({"policy": {"kind": "thompson_beta", "flor": 0.1}}, "home_row.policy.flor is no key; did you mean floor?"),
    ({"policy": {"kind": "thompson_beta", "epsilon": 0.1}}, "home_row.policy.epsilon is no key"),
    ({"policy": {"kind": "thompson"}}, 'home_row.policy.kind "thompson" is unknown; use thompson_beta, '),
    ({"policy": {"floor": 0.1}}, "home_row.policy.kind is missing; add it"),
    ({"policy": {"kind": "softmax"}}, "home_row.policy.temperature is missing; add it"),
    ({"policy": {"kind": "thompson_beta", "floor": 1.5}}, "home_row.policy.floor 1.5 is too large; use 1 or less"),
    ({"policy": {"kind": "thompson_beta", "floor": -1}}, "home_row.policy.floor -1 is too small; use 0 or more"),
    ({"policy": {"kind": "ucb1", "exploration": 0}}, "home_row.policy.exploration 0 is too small; use more than 0"),
    ({"policy": {"kind": "thompson_beta", "floor": 0.6}}, "home_row.policy.floor 0.6 times 2 arms exceeds 1; use 0.5"),
    ({"policy_epoch": "1"}, 'home_row.policy_epoch "1" is not a whole number'),
    ({"policy_epoch": -1}, "home_row.policy_epoch -1 is too small; use 0 or more"),
    ({"policy_epoch": None}, "home_row.policy_epoch is missing; add it"),
    ({"arms": {"cf": {**ARM, "generation": 0}}}, "home_row.arms.cf.generation 0 is too small; use 1 or more"),
    (
        {"arms": {"cf": {**ARM, "state": "paused"}}},
        'home_row.arms.cf.state "paused" is unknown; use active, draining or',
    ),
    ({"arms": {"*": ARM}}, 'home_row.arms "*" is not a name: '),
    ({"arms": {"": ARM}}, 'home_row.arms "" is not a name: '),
    ({"arms": {}}, "home_row.arms is empty; name at least one"),
    ({"attribution": {**ATTRIBUTION, "window": 30}}, "home_row.attribution.window 30 is not a duration: a number and"),
    ({"attribution": {**ATTRIBUTION, "window": "-1s"}}, 'home_row.attribution.window "-1s" is not a duration: '),
    ({"attribution": {**ATTRIBUTION, "reward_kinds": []}}, "home_row.attribution.reward_kinds is empty"),
    ({"attribution": {**ATTRIBUTION, "aggregate": "mean"}}, 'aggregate "mean" is unknown; use any, first, sum or max'),
    ({"attribution": {"window": "1h"}}, "home_row.attribution.allowed_lateness is missing; add it"),
    ({"half_lives": ["1h", "1h"]}, 'home_row.half_lives ["1h", "1h"] names something twice; leave one of them out'),
    ({"half_lives": ["1 hour"]}, 'home_row.half_lives[0] "1 hour" is not a duration: '),
    ({"segments": ["a|b"]}, 'home_row.segments[0] "a|b" is not a key of a decision\'s context: '),
    ({"prior": {"cf": [1]}}, "home_row.prior.cf [1] is not a list of two numbers"),
    ({"features": [{"name": "a", "type": "categorical"}]}, "home_row.features[0].buckets is missing; add it"),
    ({"features": [{"name": "a", "type": "bool", "scale": 2}]}, "home_row.features[0].scale is no key; the keys here"),
    ({"features": [{"name": "a", "type": "text"}]}, 'home_row.features[0].type "text" is unknown; use categorical, '),
    ({"guardrails": [{"metric": "clicks", "max": 1}]}, 'home_row.guardrails[0].metric "clicks" is not a metric: '),
    ({"cold": {"share": 0}}, "home_row.cold.share 0 is too small; use more than 0"),
    ({"cold": {"min": 5}}, "home_row.cold.min is no key; did you mean min_n?"),
    (
        {"holdback": {"share": 0, "arm": "cf"}},
        "home_row.holdback.share 0 is not a share between 0 and 1, both excluded",
    ),
    (
        {"holdback": {"share": 1, "arm": "cf"}},
        "home_row.holdback.share 1 is not a share between 0 and 1, both excluded",
    ),
    ({"holdback": {"share": 0.1}}, "home_row.holdback.arm is missing; add it"),
    ({"holdback": {"share": 0.1, "arm": "no"}}, "home_row.holdback.arm no is not an active arm; use one of cf, vae"),
    ({"policy": {"kind": "top_two", "beta": 0}}, "home_row.policy.beta 0 is too small; use more than 0"),
    (
        {"policy": {"kind": "ucb_tuned", "exploration": 0}},
        "home_row.policy.exploration 0 is too small; use more than 0",
    ),
    (
        {"arms": {"cf": {**ARM, "attributes": {"deep": None}}}},
        "home_row.arms.cf.attributes.deep null is not true, false, a number or text",
    ),
    ({"sticky": "user_key"}, 'home_row.sticky "user_key" is not true or false'),
]


@pytest.mark.parametrize(("changes", "sentence"), MISTAKES, ids=[sentence for _, sentence in MISTAKES])
def test_a_mistake_is_one_sentence_with_its_place(changes: dict[str, Any], sentence: str) -> None:
    assert sentence in fault(changed(**changes))


@pytest.mark.parametrize("name", ["_stream", ".", "..", ".tmp", "a/b", "a\\b", "a b", "", "a\n", "*", "[a]", "x" * 129])
def test_a_bandit_whose_name_could_be_no_folder_is_refused(name: str) -> None:
    data = yaml.safe_dump({"bandits": {name: yaml.safe_load(PLAIN)["bandits"]["home_row"]}}).encode()
    assert " is not a bandit's name: it becomes a folder" in fault(data)


@pytest.mark.parametrize("name", ["home_row", "a.b-c", "größe", "x" * 128, "_streams"])
def test_other_names_are_free(name: str) -> None:
    data = yaml.safe_dump({"bandits": {name: yaml.safe_load(PLAIN)["bandits"]["home_row"]}}, allow_unicode=True)
    assert list(parse_bytes(data.encode(), "bandits.yaml").bandits) == [name]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"attribution": {**ATTRIBUTION, "window": "45m"}},
            "home_row.attribution.window was 30m and is 45m in the same policy_epoch 1; put the former value back, or "
            "raise policy_epoch, with which the bandit's statistics start empty",
        ),
        (
            {"attribution": {**ATTRIBUTION, "denominator": "impressions"}},
            "home_row.attribution.denominator was decisions",
        ),
        ({"segments": []}, "home_row.segments was ['plan'] and is []"),
        ({"half_lives": ["1h"]}, "home_row.half_lives was"),
        ({"hours_kept": 24}, "home_row.hours_kept was 168 and is 24"),
        ({"max_segments": 10}, "home_row.max_segments was 1000 and is 10"),
        ({"features": [{"name": "a", "type": "bool"}]}, "home_row.features was []"),
        (
            {"policy_epoch": 0},
            "home_row.policy_epoch was 1 and is 0; it never falls, so put 1 back or use a larger one",
        ),
    ],
)
def test_another_way_of_counting_needs_a_new_epoch(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BanditsError) as error:
        check_change(parsed(), parsed(**changes))
    assert str(error.value).startswith(sentence)
    check_change(parsed(), parsed(**{**changes, "policy_epoch": 2}))


def test_what_only_decides_may_change_at_any_time() -> None:
    check_change(parsed(), parsed())
    check_change(parsed(), parsed(policy={"kind": "ucb1"}, prior=None, guardrails=[{"metric": "reward", "min": 0}]))
    check_change(parsed(), parsed(arms={"cf": {**ARM, "generation": 2}, "new": ARM}, prior=None))


def test_bandits_may_come_and_go() -> None:
    other = Bandits({"other": parsed(policy_epoch=9).bandits["home_row"]})
    check_change(parsed(), other)
    check_change(other, parsed())
