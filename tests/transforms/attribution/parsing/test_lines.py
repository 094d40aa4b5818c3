"""The plain rule: which lines are records, and what is said of the others."""

from __future__ import annotations

import json

import pytest

from serving_client.contracts.canonical import record_rank
from tests.transforms.attribution.parsing.record_lines import REWARD
from transforms.attribution.parsing.fields import REWARD as FIELDS
from transforms.attribution.parsing.lines import read_line


def test_a_record_is_its_fields_and_the_rank_of_the_whole() -> None:
    record = {**REWARD, "unknown": [1, {"a": None}]}
    absent = {"received_at": None, "item_id": None, "position": None}
    assert read_line(json.dumps(record).encode(), FIELDS) == ({**REWARD, **absent}, record_rank(record))


def test_the_last_of_two_values_counts() -> None:
    text = json.dumps(REWARD)[:-1] + ', "value": 2}'
    assert read_line(text.encode(), FIELDS) == read_line(json.dumps({**REWARD, "value": 2}).encode(), FIELDS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"\xff", "line is not UTF-8"),
        (b"{", "line is no JSON"),
        (b"[1]", "line is no JSON object"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": 1e999}', "beyond float64"),
        (b'{"a": "\\ud800"}', "half a surrogate pair"),
        (b"[" * 100_000 + b"]" * 100_000, "nested more than 254 deep"),
        (b'{"a":' + b"[" * 254 + b"]" * 254 + b"}", "nested more than 254 deep"),
        (b'{"a":' + b"[" * 253 + b"]" * 253 + b"}", "event_id is missing"),
        (b"\xef\xbb\xbf{}", "line is no JSON"),
    ],
)
def test_a_line_that_is_no_record_says_why(text: bytes, reason: str) -> None:
    said = read_line(text, FIELDS)
    assert isinstance(said, str)
    assert reason in said
