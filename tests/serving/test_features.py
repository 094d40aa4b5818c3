"""Features and segments: truths worked by hand, and properties over any context."""

from __future__ import annotations

import enum
import hashlib
import json
from typing import Any

import jsonschema
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_client.bandits_file import parse_bytes
from serving_client.contracts.bandits import Bandit, feature_width
from serving_client.contracts.schemas import load
from serving_client.features import FeatureEncoder, logged_context, segment_of

FEATURES = """
      - {name: always, type: bool, from: model}
      - {name: country, type: categorical, buckets: 4}
      - {name: age, type: numeric, scale: 10, max: 5}
      - {name: topic, type: categorical, buckets: 2, from: item}
      - {name: size, type: numeric, scale: 2, from: model}
      - {name: style, type: categorical, buckets: 2, from: model}
      - {name: is_new, type: bool, from: item}
"""
ARMS = """
      cf: {generation: 1, model: cf, attributes: {always: true, size: 3, style: bold}}
      vae: {generation: 1, model: vae, attributes: {always: true, size: -1.5, style: plain}}
"""


def bandit(features: str = FEATURES, arms: str = ARMS, segments: str = "[]") -> Bandit:
    text = f"""
bandits:
  row:
    policy_epoch: 1
    default_arm: cf
    arms: {arms}
    policy: {{kind: ucb1}}
    attribution: {{window: 30m, allowed_lateness: 1h}}
    segments: {segments}
    features: {features}
"""
    return parse_bytes(text.encode(), "bandits.yaml").bandits["row"]


def encode(one: Bandit, arm_id: str, context: dict[str, Any]) -> Any:
    return FeatureEncoder(one).encode(arm_id, context)


def bucket(name: str, text: str, buckets: int) -> int:
    return int(hashlib.blake2b(f"{name}\0{text}".encode(), digest_size=8).hexdigest(), 16) % buckets


def test_a_vector_has_each_feature_at_its_place() -> None:
    """1 + (4 + 1) + 1 + (2 + 1) + 1 + (2 + 1) + 1 = 15 numbers; age 23 / 10 = 2.3 and size 3 / 2 = 1.5."""
    one = bandit()
    x = encode(one, "cf", {"country": "CH", "age": 23, "topic": "art", "is_new": True, "size": 100, "always": False})
    expected = np.zeros(15)
    expected[[0, 6, 10, 14]] = [1, 2.3, 1.5, 1]
    expected[1 + bucket("country", "CH", 4)] = 1
    expected[7 + bucket("topic", "art", 2)] = 1
    expected[11 + bucket("style", "bold", 2)] = 1
    assert x.dtype == np.float64
    assert x.tolist() == expected.tolist()
    assert feature_width(one) == 15


def test_a_bucket_is_the_blake2b_of_name_zero_value_modulo_buckets() -> None:
    """`printf 'country\\0CH' | b2sum -l 64` prints 44280b20270b64ee, and hex e = 14 is 2 modulo 4."""
    x = encode(bandit("[{name: country, type: categorical, buckets: 4}]", PLAIN_ARMS), "cf", {"country": "CH"})
    assert x.tolist() == [0, 0, 1, 0, 0]


PLAIN_ARMS = "{cf: {generation: 1, model: cf}}"
MISSING: list[Any] = [None, "", [], {}, "x" * 1_025, "é" * 513, "\ud800", float("nan"), float("inf"), 2**63, b"CH"]
MISSING += [np.longdouble(3), np.datetime64("2026-11-24")]


@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_unknown_and_missing_values_have_one_encoding(value: Any) -> None:
    """Its own bucket of a category, and 0 of a number or a boolean."""
    features = "[{name: a, type: categorical, buckets: 3}, {name: b, type: numeric}, {name: c, type: bool}]"
    one = bandit(features, PLAIN_ARMS, "[a, b]")
    context = {"a": value, "b": value, "c": value}
    assert encode(one, "cf", context).tolist() == encode(one, "cf", {}).tolist() == [0, 0, 0, 1, 0, 0]
    assert segment_of(one, context) == "?|?"
    assert logged_context(one, context) == {}


@pytest.mark.parametrize(
    ("value", "number"),
    [(True, 0), ("7", 0), (7, 0.7), (-7.5, -0.75), (1e300, 5), (-(2**63), -5), (np.float32(2.5), 0.25), (-0.0, 0)],
)
def test_a_number_is_scaled_and_limited_and_another_type_is_missing(value: Any, number: float) -> None:
    one = bandit("[{name: age, type: numeric, scale: 10, max: 5}]", PLAIN_ARMS)
    assert encode(one, "cf", {"age": value}).tolist() == [number]


def test_a_number_without_a_limit_fits_a_decision() -> None:
    one = bandit("[{name: age, type: numeric, scale: 1.0e-9}]", PLAIN_ARMS)
    assert encode(one, "cf", {"age": 1e308}).tolist() == [2**20]


@pytest.mark.parametrize("value", ["true", 1, 1.0, "1", 2])
def test_only_true_is_true(value: Any) -> None:
    one = bandit("[{name: a, type: bool}]", PLAIN_ARMS)
    assert encode(one, "cf", {"a": value}).tolist() == [0]
    assert encode(one, "cf", {"a": np.True_}).tolist() == [1]


class Plan(str, enum.Enum):  # noqa: UP042 - applications still write it so
    FREE = "free"


def test_equal_values_are_one_category_and_one_segment_whatever_their_type() -> None:
    one = bandit("[{name: plan, type: categorical, buckets: 256}]", PLAIN_ARMS, "[plan]")
    for alike in ([7, 7.0, "7", np.int64(7)], [True, "true", np.True_], [0.25, "0.25"], ["free", Plan.FREE]):
        assert len({tuple(encode(one, "cf", {"plan": value})) for value in alike}) == 1
        assert len({segment_of(one, {"plan": value}) for value in alike}) == 1


def test_an_arm_that_left_the_file_has_no_attributes() -> None:
    one = bandit()
    assert encode(one, "gone", {}).tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("keys", "context", "segment"),
    [
        ("[]", {"plan": "free"}, "*"),
        ("[plan]", {"plan": "free"}, "free"),
        ("[plan]", {}, "?"),
        ("[plan, device]", {"device": "phone", "plan": "free"}, "free|phone"),
        ("[plan, device]", {"device": "phone"}, "?|phone"),
        ("[plan, device]", {"plan": "a|b", "device": "?"}, "a%7Cb|%3F"),
        ("[plan]", {"plan": "*"}, "%2A"),
        ("[plan]", {"plan": "*holdback"}, "%2Aholdback"),
        ("[plan]", {"plan": "a*b?"}, "a*b?"),
        ("[plan]", {"plan": "50%\n"}, "50%25%0A"),
        ("[plan]", {"plan": "größe 2"}, "größe 2"),
        ("[plan, device]", {"plan": "x" * 511, "device": "x" * 512}, "x" * 511 + "|?"),
    ],
)
def test_a_segment_joins_the_escaped_values(keys: str, context: dict[str, Any], segment: str) -> None:
    assert segment_of(bandit("[]", PLAIN_ARMS, keys), context) == segment


def test_of_the_context_declared_keys_alone_are_logged() -> None:
    one = bandit(segments="[plan]")
    context = {"plan": "free", "country": "CH", "age": np.int64(23), "size": 4, "email": "a@b.c", "topic": None}
    logged = logged_context(one, context)
    assert logged == {"plan": "free", "country": "CH", "age": 23}
    assert type(logged["age"]) is int


values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(["?", "*", "|", "%7C"]),
    st.text(max_size=2).map(lambda text: text * 400), st.lists(st.integers(), max_size=1),
)  # fmt: skip
contexts = st.dictionaries(st.sampled_from(["country", "age", "topic", "is_new", "plan", "other"]), values)
WHOLE = bandit(segments="[plan, country, age]")
ENCODER = FeatureEncoder(WHOLE)
VALIDATOR = jsonschema.Draft202012Validator(load("decision"))


@given(context=contexts)
def test_the_logged_context_gives_the_same_vector_and_segment(context: dict[str, Any]) -> None:
    read_back = json.loads(orjson.dumps(logged_context(WHOLE, context)))
    for arm_id in ("cf", "vae", "gone"):
        assert ENCODER.encode(arm_id, read_back).tobytes() == ENCODER.encode(arm_id, context).tobytes()
    assert segment_of(WHOLE, read_back) == segment_of(WHOLE, context)


@given(context=contexts)
def test_every_vector_and_segment_fits_a_decision(context: dict[str, Any]) -> None:
    segment, features = segment_of(WHOLE, context), ENCODER.encode("cf", context).tolist()
    decision = {
        "decision_id": "d", "bandit_id": "row", "policy_epoch": 1, "arm_id": "cf", "segment": segment,
        "arm_generation": 1, "propensity": 1, "decided_at": "2026-11-24T06:00:00Z", "features": features,
    }  # fmt: skip
    VALIDATOR.validate(decision)
    assert len(segment.encode()) <= 1_024
    assert len(features) == feature_width(WHOLE)


@given(context=contexts)
def test_all_arms_at_once_are_each_arm_alone(context: dict[str, Any]) -> None:
    together = ENCODER.encode_arms(["vae", "gone", "cf"], context)
    assert [row.tobytes() for row in together] == [
        ENCODER.encode(arm_id, context).tobytes() for arm_id in ("vae", "gone", "cf")
    ]
    assert ENCODER.encode_arms([], context).shape == (0, feature_width(WHOLE))


present = st.text(min_size=1, max_size=8) | st.integers(-5, 5) | st.booleans()


@given(one=st.tuples(present, present), other=st.tuples(present, present))
def test_different_values_have_different_segments(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    pair = bandit("[]", PLAIN_ARMS, "[a, b]")
    segments = [segment_of(pair, {"a": a, "b": b}) for a, b in (one, other)]
    texts = [[json.dumps(value) if not isinstance(value, str) else value for value in each] for each in (one, other)]
    assert (segments[0] == segments[1]) == (texts[0] == texts[1])
    assert not {"*", "*holdback", "?|?"} & set(segments)
