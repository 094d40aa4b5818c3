"""The rank is the hash of the fixed encoding that the oracle writes a second time, whatever else a line says."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from typing import Any

from tests.oracles.ranks import rank_of
from tests.transforms.attribution.parsing.record_lines import DECISION, REWARD
from transforms.attribution.parsing.records import read_decisions, read_rewards

NEVER_US = 2**61
WHOLE = {
    **DECISION, "propensities": {"b": 1, "a": 0.5}, "eligible_arms": ["a", "ö"], "draw": 0.5, "rung": "fresh",
    "snapshot_version": 7, "config_hash": "c0ffee", "served_by": "cf", "fallback_reason": "", "model_version": "7",
    "context": {"plan": "free", "n": [1, None, True, {"z": "", "a": -0.0}]}, "features": [1, -2.5], "items": [],
    "feature_schema": "abc", "user_key": "u", "bot": False, "holdback": True,
    "received_at": "2026-11-24T06:00:00+00:00",
}  # fmt: skip


def rank(record: dict[str, Any], **written: Any) -> int:
    text = json.dumps(record, **written).encode()
    read = read_rewards if "event_id" in record else read_decisions
    columns, rejected, _ = read(text, 0, NEVER_US, 10**9)
    assert not rejected
    return int(columns.rank[0])


def shuffled(record: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    pairs = [(key, shuffled(each, rng) if isinstance(each, dict) else each) for key, each in record.items()]
    rng.shuffle(pairs)
    return dict(pairs)


def test_the_rank_of_a_reward_is_the_hash_of_its_fields() -> None:
    """Five fields that are there, three that are not."""
    texts = [struct.pack("<BI", 1, len(text)) + text for text in (b"e1", b"d1", b"click", b"2026-11-24T06:00:01.5Z")]
    data = b"".join(texts[:3]) + struct.pack("<Bd", 1, 1.0) + texts[3] + bytes(3)
    expected = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
    assert rank(REWARD) == rank_of(REWARD) == expected


def test_a_rank_is_the_oracles_whatever_the_order_of_keys_and_the_white_space() -> None:
    rng = random.Random(1)
    for _ in range(20):
        record = shuffled(WHOLE, rng)
        assert rank(record, indent=None) == rank(record, separators=(" , ", " : ")) == rank_of(WHOLE)
    assert rank({**WHOLE, "unknown": [1]}) == rank_of(WHOLE)


def test_null_and_absence_and_two_ways_to_write_a_number_have_one_rank() -> None:
    assert rank({**DECISION, **dict.fromkeys(set(WHOLE) - set(DECISION))}) == rank(DECISION)
    assert rank({**REWARD, "value": 1.0}) == rank({**REWARD, "value": 1}) == rank(REWARD)
    assert rank({**REWARD, "value": -0.0}) == rank({**REWARD, "value": 0})
    assert rank({**WHOLE, "features": [1.0, -2.5], "propensities": {"a": 0.5, "b": 1.0}}) == rank(WHOLE)


def test_every_field_changes_the_rank() -> None:
    others: dict[str, Any] = {
        **dict.fromkeys(WHOLE, "x"), "policy_epoch": 9, "arm_generation": 9, "propensity": 0.75, "draw": 0,
        "decided_at": "2026-11-24T06:00:00.000002Z", "propensities": {}, "eligible_arms": ["aö"], "bot": True,
        "holdback": False,
        "snapshot_version": 8, "model_version": 7, "context": {"plan": "free"}, "features": [], "items": ["i"],
        "received_at": "2026-11-24T06:00:00Z",
    }  # fmt: skip
    ranks = {rank({**WHOLE, name: other}) for name, other in others.items()}
    absent = {rank({**WHOLE, name: None}) for name in set(WHOLE) - set(DECISION)}
    assert len(ranks | absent | {rank(WHOLE)}) == len(WHOLE) + len(set(WHOLE) - set(DECISION)) + 1


def test_fields_do_not_run_into_each_other() -> None:
    assert rank({**DECISION, "segment": "ab", "arm_id": "c"}) != rank({**DECISION, "segment": "a", "arm_id": "bc"})
    assert rank({**DECISION, "items": ["a"]}) != rank({**DECISION, "eligible_arms": ["a"]})
    assert rank({**DECISION, "rung": "x"}) != rank({**DECISION, "config_hash": "x"})
