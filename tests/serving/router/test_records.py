"""Lines of the logs: valid by the schemas, read back by the stream's own parser, every float exact."""

from __future__ import annotations

import functools
import json
import math
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_client.contracts import schemas
from serving_client.contracts.times import parse_time
from serving_client.router.records import decision_line, decision_part, reward_line
from transforms.attribution.parsing.lines import read_line
from transforms.attribution.parsing.schema import Decision, Reward

AT_US = 1_764_000_000_000_001  # 2025-11-24T16:00:00.000001Z
HOME: dict[str, Any] = {
    "bandit_id": "home_row",
    "policy_epoch": 1,
    "segment": "free",
    "eligible_arms": ("cf", "vae"),
    "propensities": {"cf": 0.1, "vae": 0.9},
}
PART = decision_part(**HOME)
WHOLE_PART = decision_part(**HOME, snapshot_version=7, config_hash="c0ffee", feature_schema="abc")
line = functools.partial(
    decision_line, decision_id="d1", arm_id="cf", arm_generation=2, propensity=0.1, decided_at_us=AT_US
)


@functools.cache
def validator(name: str) -> Any:
    return jsonschema.Draft202012Validator(schemas.load(name))


def read(data: bytes, name: str = "decision") -> dict[str, Any]:
    """Check a line against schema and parser, and return the record."""
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    record: dict[str, Any] = json.loads(data)
    validator(name).validate(record)
    read_line(data[:-1], Decision if name == "decision" else Reward)
    return record


def test_a_decision_has_the_required_fields_and_no_null() -> None:
    assert read(line(PART)) == {
        "decision_id": "d1", "bandit_id": "home_row", "policy_epoch": 1, "segment": "free", "arm_id": "cf",
        "arm_generation": 2, "propensity": 0.1, "decided_at": "2025-11-24T16:00:00.000001Z",
        "eligible_arms": ["cf", "vae"], "propensities": {"cf": 0.1, "vae": 0.9},
    }  # fmt: skip


def test_a_decision_has_every_field_that_is_given() -> None:
    optional: dict[str, Any] = {
        "draw": 0.05, "rung": "fresh", "served_by": "vae", "fallback_reason": "timeout", "model_version": 1764,
        "context": {"plan": "free", "age": 30}, "features": [1.0, 0.5], "items": ["i1", "007"], "user_key": "u1",
        "bot": True, "holdback": True,
    }  # fmt: skip
    record = read(line(WHOLE_PART, **optional))
    assert record.items() >= optional.items()
    assert {"snapshot_version": 7, "config_hash": "c0ffee", "feature_schema": "abc"}.items() <= record.items()


def test_the_parser_reads_what_was_written() -> None:
    record = read_line(line(WHOLE_PART, model_version="v1", features=np.array([0.1, -2.0])), Decision)
    assert (record.decision_id, record.bandit_id, record.arm_generation) == ("d1", "home_row", 2)
    assert (record.model_version, record.features, record.snapshot_version) == ("v1", [0.1, -2.0], 7)
    assert parse_time(record.decided_at) == AT_US


@given(
    p=st.floats(0, 1),
    draw=st.floats(0, 1, exclude_max=True),
    features=st.lists(st.floats(-(2**20), 2**20), max_size=4),
)
def test_every_float_reads_back_as_the_same_number(p: float, draw: float, features: list[float]) -> None:
    part = decision_part(bandit_id="b", policy_epoch=1, segment="*", eligible_arms=["a"], propensities={"a": p})
    data = decision_line(
        part, decision_id="d", arm_id="a", arm_generation=1, propensity=p, decided_at_us=AT_US, draw=draw,
        features=np.array(features),
    )  # fmt: skip
    record = read(data)
    assert record["propensity"] == record["propensities"]["a"] == p
    assert record["draw"] == draw
    assert record["features"] == features


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (2**70, str(2**70)),
        (-(2**63), -(2**63)),
        ("\ud800", "\\ud800"),
        (math.nan, None),
        (math.inf, None),
        ({1: {2}}, {"1": [2]}),
        (b"bytes", "b'bytes'"),
        (Unprintable(), "Unprintable"),
        (np.float32(0.5), 0.5),
        (np.arange(6).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
        ("line\nbreak", "line\nbreak"),
    ],
)
def test_a_context_value_that_json_cannot_express_never_breaks_the_line(value: Any, written: Any) -> None:
    """The context comes from a request, and a request is always answered."""
    assert read(line(PART, context={"plan": value}))["context"] == {"plan": written}


def test_a_context_that_is_nested_deeply_or_contains_itself_is_cut() -> None:
    circle: list[Any] = []
    circle.append(circle)
    for value in (nested(400), circle):
        assert b'"\xe2\x80\xa6"' in line(PART, context={"plan": value})
        read(line(PART, context={"plan": value}))


def test_a_segment_that_is_no_unicode_never_breaks_the_line() -> None:
    part = decision_part(bandit_id="b", policy_epoch=1, segment="\udcff", eligible_arms=["a"], propensities={"a": 1.0})
    assert read(line(part))["segment"] == "\\udcff"


def test_a_reward_has_the_fields_of_its_schema() -> None:
    required = reward_line(
        event_id="e1", decision_id="d1", kind="click", value=1.0, occurred_at_us=AT_US, received_at_us=AT_US + 1
    )
    assert read(required, "reward") == {
        "event_id": "e1", "decision_id": "d1", "kind": "click", "value": 1.0,
        "occurred_at": "2025-11-24T16:00:00.000001Z", "received_at": "2025-11-24T16:00:00.000002Z",
    }  # fmt: skip
    whole = reward_line(
        event_id="e1", decision_id="d1", kind="watch", value=0.123456, occurred_at_us=AT_US, received_at_us=AT_US,
        item_id="007", position=0,
    )  # fmt: skip
    assert {"item_id": "007", "position": 0, "value": 0.123456}.items() <= read(whole, "reward").items()
