"""Records by columns are the records one by one: values, rank, times, outcomes, and what becomes of every line."""

from __future__ import annotations

import itertools
import json

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving_client.contracts.times import parse_time
from tests.oracles.ranks import rank_of
from tests.transforms.attribution.parsing.record_lines import DECISION, REWARD, chunks
from transforms.attribution.block import BOT, FALLBACK
from transforms.attribution.parsing.keys import decision_keys, event_keys
from transforms.attribution.parsing.lines import Malformed, read_line
from transforms.attribution.parsing.records import read_decisions, read_rewards
from transforms.attribution.parsing.schema import Decision, Reward
from transforms.attribution.rules import HOLDBACK, Label

NOW_US, FUTURE_US = 1_795_500_000_000_000 + 10_000_000, 5_000_000
OPTIONAL = {
    kind: [field.name for field in msgspec.structs.fields(kind) if not field.required] for kind in (Decision, Reward)
}
bases = st.sampled_from([0, 17, 2**40])


def one_by_one(lines, base, kind, event):
    """(good: [(position, record, rank, original)], others: [(position, outcome, original)], lines not blank)."""
    good, others, read, position = [], [], 0, base
    for text in lines.split(b"\n"):
        start, position = position, position + len(text) + 1
        original = text.removesuffix(b"\r")
        if not text.strip():
            continue
        read += 1
        try:
            record = read_line(text, kind)
        except Malformed:
            others.append((start, "malformed", original))
            continue
        limit_us = (NOW_US if record.received_at is None else parse_time(record.received_at)) + FUTURE_US
        if parse_time(getattr(record, event)) > limit_us:
            others.append((start, "future", original))
        else:
            good.append((start, record, rank_of(plain(record)), original))
    return good, others, read


def plain(record: Decision | Reward) -> dict[str, object]:
    values: dict[str, object] = msgspec.structs.asdict(record)
    return {
        name: json.loads(bytes(value)) if isinstance(value, msgspec.Raw) else value for name, value in values.items()
    }


@given(lines=chunks(DECISION, OPTIONAL[Decision]), base=bases)
@example(lines=b"", base=0)
def test_decisions_as_columns_are_the_decisions_one_by_one(lines: bytes, base: int) -> None:
    columns, rejected, read = read_decisions(lines, base, NOW_US, FUTURE_US)
    good, others, expected_read = one_by_one(lines, base, Decision, "decided_at")
    assert [(each.position, each.outcome, each.original) for each in rejected] == others
    assert read == expected_read == len(columns) + len(rejected)
    assert columns.position.tolist() == [position for position, *_ in good]
    assert [columns.original(row) for row in range(len(columns))] == [original for *_, original in good]
    assert columns.rank.tolist() == [rank for _, _, rank, _ in good]
    records = [record for _, record, _, _ in good]
    hi, lo = decision_keys([record.decision_id for record in records])
    assert columns.hi.tolist() == hi.tolist()
    assert columns.lo.tolist() == lo.tolist()
    assert columns.at_us.tolist() == [parse_time(record.decided_at) for record in records]
    labels = [
        label._replace(segment=HOLDBACK) if record.holdback else label
        for record in records
        if (label := Label(*(getattr(record, name) for name in Label._fields)))
    ]
    assert [columns.labels[number] for number in columns.label] == labels
    assert len(set(columns.labels)) == len(columns.labels)
    flags = [
        BOT * bool(record.bot) + FALLBACK * ((record.served_by or record.arm_id) != record.arm_id) for record in records
    ]
    assert columns.flags.tolist() == flags
    propensities = np.array([float(record.propensity) for record in records])
    assert columns.propensity.tobytes() == propensities.tobytes()
    vectors = [[round(number * 1024) for number in record.features or []] for record in records]
    if columns.features is None:
        assert not any(vectors)
    else:
        features, ends = columns.features, columns.features.offsets.tolist()
        assert [features.values[a:b].tolist() for a, b in itertools.pairwise(ends)] == vectors
        names = [None if number < 0 else columns.schemas[number] for number in features.schema]
        assert names == [record.feature_schema for record in records]


@given(lines=chunks(REWARD, OPTIONAL[Reward]), base=bases, event_ids=st.booleans())
@example(lines=b"", base=0, event_ids=True)
def test_rewards_as_columns_are_the_rewards_one_by_one(lines: bytes, base: int, event_ids: bool) -> None:
    columns, rejected, read = read_rewards(lines, base, NOW_US, FUTURE_US, event_ids)
    good, others, expected_read = one_by_one(lines, base, Reward, "occurred_at")
    assert [(each.position, each.outcome, each.original) for each in rejected] == others
    assert read == expected_read == len(columns) + len(rejected)
    assert columns.position.tolist() == [position for position, *_ in good]
    assert [columns.original(row) for row in range(len(columns))] == [original for *_, original in good]
    assert columns.rank.tolist() == [rank for _, _, rank, _ in good]
    records = [record for _, record, _, _ in good]
    hi, lo = decision_keys([record.decision_id for record in records])
    assert columns.hi.tolist() == hi.tolist()
    assert columns.lo.tolist() == lo.tolist()
    assert columns.event.tolist() == event_keys([record.event_id for record in records]).tolist()
    assert columns.event_id == ([record.event_id for record in records] if event_ids else None)
    assert columns.at_us.tolist() == [parse_time(record.occurred_at) for record in records]
    assert [columns.kinds[number] for number in columns.kind] == [record.kind for record in records]
    assert columns.value.tolist() == [round(record.value * 10**6) for record in records]
    assert not columns.flags.any()


def line(**changed: object) -> bytes:
    return json.dumps({**DECISION, **changed}).encode() + b"\n"


def test_the_example_of_the_docs_is_read() -> None:
    lines = line(bot=True) + line(decision_id="d2", served_by="cf", features=[0.5, -1, 2.0005], feature_schema="v1")
    columns, rejected, read = read_decisions(lines, 100, NOW_US, FUTURE_US)
    assert (rejected, read) == ([], 2)
    assert columns.labels == [Label("home_row", 3, "free|de", "popular", 2)]
    assert columns.flags.tolist() == [BOT, FALLBACK]
    assert columns.position.tolist() == [100, 100 + len(line(bot=True))]
    assert columns.features is not None
    assert columns.features.offsets.tolist() == [0, 0, 3]
    assert columns.features.values.tolist() == [512, -1024, 2049]  # 2.0005 x 1024 = 2048.512
    assert columns.original(0) == line(bot=True)[:-1]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"decision_id": None}, "Expected `str`, got `null` - at `$.decision_id`"),
        ({"decision_id": ""}, "Expected `str` of length >= 1 - at `$.decision_id`"),
        ({"policy_epoch": 3.0}, "Expected `int`, got `float` - at `$.policy_epoch`"),
        ({"policy_epoch": 2**63}, "Expected `int` <= 9223372036854775807 - at `$.policy_epoch`"),
        ({"arm_generation": True}, "Expected `int`, got `bool` - at `$.arm_generation`"),
        ({"propensity": 1.5}, "Expected `float` <= 1.0 - at `$.propensity`"),
        ({"decided_at": "yesterday"}, "decided_at is not an RFC 3339 UTC time"),
        ({"bot": 1}, "Expected `bool | null`, got `int` - at `$.bot`"),
        ({"holdback": "yes"}, "Expected `bool | null`, got `str` - at `$.holdback`"),
        ({"items": ["a", 1]}, "Expected `str`, got `int` - at `$.items[1]`"),
        ({"propensities": {"a": "1"}}, "Expected `float`, got `str` - at `$.propensities[...]`"),
    ],
)
def test_a_malformed_decision_says_which_field_is_wrong(changed: dict[str, object], reason: str) -> None:
    _, rejected, _ = read_decisions(line(**changed), 0, NOW_US, FUTURE_US)
    assert [(each.outcome, each.reason) for each in rejected] == [("malformed", reason)]


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("name", ["decision_id", "arm_id", "user_key"])
def test_a_bad_id_is_found_among_good_lines(name: str, ascii_only: bool) -> None:
    ids = ["ok", "a\nb", "é" * 513, "\0", "é" * 512, "\u2028"]
    lines = "".join(json.dumps({**DECISION, name: each}, ensure_ascii=ascii_only) + "\n" for each in ids).encode()
    columns, rejected, _ = read_decisions(lines, 0, NOW_US, FUTURE_US)
    assert len(columns) == 3
    assert [each.reason for each in rejected] == [
        f"{name} holds NUL, CR or LF", f"{name} has 1,026 bytes, more than 1,024", f"{name} holds NUL, CR or LF"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "odd",
    [
        [b"{", b"}"],
        [b"{RECORD", b"}"],
        [b'{RECORD,"x":{', b"}}"],
        [b'{RECORD,"x":{}', b"}"],
        [b'{RECORD,"x":"}', b'{"}'],
        [b'{RECORD,"x":[{}', b"{}]}"],
        [b"{RECORD}{RECORD", b"}"],
        [b"{RECORD}{RECORD}"],
        [b"{RECORD} {RECORD}", b"{}"],
        [b"{RECORD} {RECORD}", b"{"],
    ],
)
def test_a_record_over_two_lines_and_two_records_in_one_line_are_malformed(odd: list[bytes]) -> None:
    """The decoder of many lines takes some of them, and some pairs have as many records as lines."""
    record = line().strip(b"{}\n")
    lines = [each.replace(b"RECORD", record) for each in odd]
    columns, rejected, _ = read_decisions(line() + b"\n".join(lines) + b"\n" + line(), 0, NOW_US, FUTURE_US)
    assert [(each.outcome, each.original) for each in rejected] == [("malformed", each) for each in lines]
    assert len(columns) == 2


def test_a_decision_of_the_future_names_its_bandit_whatever_unknown_fields_hold() -> None:
    text = line(decided_at="2027-01-01T00:00:00Z")[:-2] + b', "unknown": "\xff"}'
    _, rejected, _ = read_decisions(text, 0, NOW_US, FUTURE_US)
    assert [(each.outcome, each.owner) for each in rejected] == [("future", ("home_row", 3))]


def test_an_event_is_ahead_of_received_at_or_else_of_the_clock() -> None:
    """6:00:10 and 5 s allowed: received at 6:00:05 is the last moment inside."""
    inside, outside = "2026-11-24T06:00:05Z", "2026-11-24T06:00:04.999999Z"
    at = {"decided_at": "2026-11-24T06:00:10Z"}
    lines = line(**at, received_at=inside) + line(**at, received_at=outside) + line(**at)
    columns, rejected, _ = read_decisions(lines, 0, parse_time(outside), FUTURE_US)
    assert len(columns) == 1
    assert [(each.outcome, each.reason) for each in rejected] == [
        ("future", "decided_at is more than 5 s ahead of received_at"),
        ("future", "decided_at is more than 5 s ahead of the clock"),
    ]
    columns, rejected, _ = read_decisions(line(**at), 0, parse_time(inside), FUTURE_US)
    assert (len(columns), rejected) == (1, [])


def test_usual_lines_are_not_read_by_the_plain_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the speed is lost and no other test would notice."""
    monkeypatch.setattr("transforms.attribution.parsing.reading.read_line", None)
    full = {"propensities": {"a": 0.1234567890123456, "b": 1}, "items": ["i"], "features": [1, 2.5], "bot": False}
    full |= {"eligible_arms": ["a"], "context": {"a": ['"\\']}, "received_at": "2026-11-24T06:00:00+00:00", "draw": 0.5}
    columns, _, _ = read_decisions(
        line() + line(**full) + line(served_by=None, model_version="7"), 0, NOW_US, FUTURE_US
    )
    assert len(columns) == 3
    rewards, _, _ = read_rewards(json.dumps({**REWARD, "value": -2.25}).encode(), 0, NOW_US, 0)
    assert rewards.value.tolist() == [-2_250_000]
