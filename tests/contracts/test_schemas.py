"""The committed schemas: they are schemas, accept what the contract allows, and refuse each way of breaking it."""

from __future__ import annotations

import copy
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.reward_stream.totals.counters import OUTCOMES, STREAM, counters_document
from serving_client.contracts import schemas
from transforms.attribution.parsing.lines import Malformed, read_line
from transforms.attribution.parsing.schema import Decision, Reward

NAMES = ("bandits", "decision", "latest", "reward", "snapshot", "stream_snapshot")
KINDS: dict[str, type[Decision] | type[Reward]] = {"decision": Decision, "reward": Reward}

DECISION_LINE = {
    "decision_id": "d1", "bandit_id": "home_row", "policy_epoch": 1, "segment": "free", "arm_id": "cf",
    "arm_generation": 1, "propensity": 0.25, "decided_at": "2026-11-24T06:00:00.000001Z",
}  # fmt: skip
DECISION_WHOLE = {
    **DECISION_LINE, "propensities": {"cf": 0.25, "vae": 0.75}, "eligible_arms": ["cf", "vae"], "draw": 0.1,
    "rung": "fresh", "snapshot_version": 7, "config_hash": "c0ffee", "served_by": "cf", "fallback_reason": "timeout",
    "model_version": "1764000000", "context": {"plan": "free"}, "features": [0, 1.5, -2], "feature_schema": "abc",
    "items": ["i1", "007"], "user_key": "u1", "bot": False, "holdback": True,
    "received_at": "2026-11-24T06:00:00+00:00",
}  # fmt: skip
REWARD_LINE = {
    "event_id": "e1", "decision_id": "d1", "kind": "click", "value": 1, "occurred_at": "2026-11-24T06:00:01Z",
}  # fmt: skip
REWARD_WHOLE = {**REWARD_LINE, "item_id": "i1", "position": 3, "received_at": "2026-11-24T06:00:02Z"}
ROW = {
    "segment": "*", "arm_id": "cf", "arm_generation": 1, "n": 2, "sum_r": 1.0, "sum_r2": 1.0, "pending": 1,
    "fallbacks": 0, "kinds": {"click": 1}, "max_event_ts": "2026-11-24T06:00:00.000001Z",
    "decayed": {"1h": {"reference_time": "2026-11-24T07:00:00.000000Z", "w": 1.1, "w_r": 0.5, "w_r2": 0.5}},
    "hours": [{"start": "2026-11-24T06:00:00.000000Z", "n": 2, "sum_r": 1.0, "sum_r2": 1.0}],
    "ipw": {"n": 2, "sum_w": 4.0, "sum_w2": 8.0, "sum_wr": 2.0, "sum_w2r2": 4.0, "missing": 0},
    "lin": {"schema": "abc", "d": 1, "xtx": "AAAAAAAA8D8=", "xtr": "AAAAAAAA4D8="},
}  # fmt: skip
SNAPSHOT = {
    "schema_version": 1, "bandit_id": "home_row", "policy_epoch": 1, "version": 1, "final": False,
    "published_at": "2026-11-24T06:30:10.000000Z", "watermark": "2026-11-24T06:30:05.000000Z", "event_time_lag": 5.0,
    "config_hash": "0" * 64, "arms": [ROW], "counters": counters_document({"counted": 3}),
    "rolled_back": [{"arm": "vae", "generation": 2, "reason": "reward", "at": "2026-11-24T06:30:05.000000Z"}],
}  # fmt: skip
STREAM_SNAPSHOT = {
    **{name: SNAPSHOT[name] for name in ("schema_version", "version", "final", "published_at", "counters")},
    "bandit_id": STREAM, "watermark": None, "event_time_lag": None,
}  # fmt: skip
LATEST = {"version": 12, "sha256": "0a" * 32}
GOOD = {
    "decision": [DECISION_LINE, DECISION_WHOLE],
    "reward": [REWARD_LINE, REWARD_WHOLE],
    "snapshot": [SNAPSHOT, {**SNAPSHOT, "watermark": None, "event_time_lag": None, "arms": [], "rolled_back": []}],
    "stream_snapshot": [STREAM_SNAPSHOT, {**STREAM_SNAPSHOT, "delivered_at": {"rewards": "2026-11-24T06:00:00Z"}}],
    "latest": [LATEST, {**LATEST, "publisher": "20261130T080000-3fa2c1", "heartbeat": 30.0}],
}


def accepts(name: str, document: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(schemas.load(name)).is_valid(document))


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_one_of_draft_2020_12(name: str) -> None:
    schema = schemas.load(name)
    assert schema["$schema"].endswith("/draft/2020-12/schema")
    jsonschema.Draft202012Validator.check_schema(schema)


def test_every_committed_schema_can_be_loaded_by_its_name() -> None:
    folder = pathlib.Path(schemas.__file__).parent
    assert sorted(path.stem for path in folder.glob("*.json")) == sorted(NAMES)


def test_a_name_without_a_schema_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match=r"'../decision' is not a schema; use one of bandits, decision"):
        schemas.load("../decision")


def test_a_loaded_schema_is_the_callers_own() -> None:
    schemas.load("latest").clear()
    assert schemas.load("latest")


@pytest.mark.parametrize(("name", "document"), [(name, each) for name, all_of in GOOD.items() for each in all_of])
def test_what_the_contract_allows_is_accepted_and_unknown_fields_are_no_error(name: str, document: Any) -> None:
    assert accepts(name, document)
    assert accepts(name, {**document, "added_later": {"any": ["thing"]}})


@pytest.mark.parametrize("name", GOOD)
def test_every_required_field_is_missed(name: str) -> None:
    document = GOOD[name][0]
    for field in schemas.load(name)["required"]:
        assert not accepts(name, {key: value for key, value in document.items() if key != field}), field


def test_an_event_time_may_be_unknown_but_not_be_left_out_of_a_snapshot() -> None:
    required = set(schemas.load("snapshot")["required"])
    assert {"watermark", "event_time_lag"} <= required
    assert required >= set(SNAPSHOT)


BAD_ROWS: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("a negative n", lambda row: row.update(n=-1)),
    ("half a decision", lambda row: row.update(n=0.5)),
    ("a kind that was not counted", lambda row: row["kinds"].update(click="1")),
    ("a sum that is text", lambda row: row.update(sum_r="1.0")),
    ("decay without its reference", lambda row: row["decayed"]["1h"].pop("reference_time")),
    ("an hour without its start", lambda row: row["hours"][0].pop("start")),
    ("ipw without missing", lambda row: row["ipw"].pop("missing")),
    ("sums of products that are no base64", lambda row: row["lin"].update(xtx="AAA")),
    ("sums of products without a width", lambda row: row["lin"].pop("d")),
    ("no max_event_ts", lambda row: row.pop("max_event_ts")),
]


@pytest.mark.parametrize(("what", "spoil"), BAD_ROWS, ids=[what for what, _ in BAD_ROWS])
def test_a_snapshot_with_a_bad_row_is_refused(what: str, spoil: Callable[[dict[str, Any]], Any]) -> None:
    row = copy.deepcopy(ROW)
    spoil(row)
    assert not accepts("snapshot", {**SNAPSHOT, "arms": [ROW, row]})


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2}, {"version": 0}, {"version": 1.5}, {"config_hash": "abc"}, {"final": 0},
        {"published_at": "now"}, {"watermark": "Infinity"}, {"event_time_lag": "5"}, {"arms": None},
        {"rolled_back": [{"arm": "vae"}]}, {"counters": {"counted": 1}},
        {"counters": {**counters_document({}), "late": -1}},
    ],
    ids=str,
)  # fmt: skip
def test_a_snapshot_with_a_bad_field_is_refused(change: dict[str, Any]) -> None:
    assert not accepts("snapshot", {**SNAPSHOT, **change})


def test_a_row_needs_features_for_sums_of_products_alone() -> None:
    row = {key: value for key, value in ROW.items() if key != "lin"}
    assert accepts("snapshot", {**SNAPSHOT, "arms": [{**row, "max_event_ts": None, "decayed": {}, "hours": []}]})


def test_the_stream_snapshot_is_of_the_stream() -> None:
    assert not accepts("stream_snapshot", {**STREAM_SNAPSHOT, "bandit_id": "home_row"})


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0},
        {"version": "12"},
        {"sha256": "0A" * 32},
        {"sha256": "0a" * 31},
        {"publisher": 7},
        {"heartbeat": -1},
        {"heartbeat": "30s"},
    ],
)
def test_a_pointer_that_names_no_version_or_no_digest_is_refused(change: dict[str, Any]) -> None:
    assert not accepts("latest", {**LATEST, **change})


def test_a_snapshot_counts_every_outcome() -> None:
    required = schemas.load("snapshot")["properties"]["counters"]["required"]
    assert required == list(counters_document({}))
    assert set(OUTCOMES) < set(required)


@pytest.mark.parametrize("name", KINDS)
def test_a_records_schema_has_the_fields_that_the_stream_reads_in_the_same_order(name: str) -> None:
    schema, fields = schemas.load(name), msgspec.structs.fields(KINDS[name])
    assert list(schema["properties"]) == [field.name for field in fields]
    assert schema["required"] == [field.name for field in fields if field.required]


values = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**10), 10**10), st.sampled_from([2**63 - 1, 2**63, -(2**63) - 1, 2**70]),
    st.sampled_from([0.5, 1.5, -0.25, 2e9 + 0.5]),
    st.sampled_from([
        "", "a", "x" * 1_024, "x" * 1_025, "a\n", "a\rb", "\0", "2026-11-24T06:00:00Z", "2026-11-24T06:00:00Z\n",
        "2026-11-24T06:00:00.1234567Z", "2026-11-24T25:00:00Z", "0000-11-24T06:00:00Z", "2026-11-24T06:00:00+00:00",
    ]),
    st.lists(st.sampled_from([0, 1.5, 2**20, 2**20 + 1, "i", "", "a\n", None, True]), max_size=2),
    st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from([0, 0.5, "x", None, True]), max_size=2),
)  # fmt: skip


@given(data=st.data(), name=st.sampled_from(sorted(KINDS)), value=values)
def test_a_records_schema_and_the_stream_agree_on_what_is_malformed(data: st.DataObject, name: str, value: Any) -> None:
    """Of all that JSON Schema can say, which knows no bytes, decimals and days of a month, and takes 1.0 for 1."""
    field = data.draw(st.sampled_from(KINDS[name].__struct_fields__))
    record: Mapping[str, Any] = {**GOOD[name][1], field: value}
    malformed = ""
    try:
        read_line(json.dumps(record).encode(), KINDS[name])
    except Malformed as error:
        malformed = str(error)
    assert accepts(name, record) == (malformed == ""), (field, value, malformed)
