"""What is called usual really is: the plain rule takes it, and orjson writes its canonical form byte by byte."""

from __future__ import annotations

import json

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving_client.contracts.canonical import canonical_json
from tests.transforms.attribution.parsing.record_lines import DECISION, Raw, chunks, number_texts, values, written
from transforms.attribution.parsing import fields
from transforms.attribution.parsing.lines import read_line
from transforms.attribution.parsing.scan import Scan, scan

KEPT = [field.name for field in fields.DECISION]


def scanned(lines: list[bytes]) -> tuple[bytes, Scan]:
    data = b"\n".join(lines)
    ends = np.cumsum([len(line) + 1 for line in lines], dtype=np.int64) - 1
    starts = ends - np.array([len(line) for line in lines], np.int64)
    return data, scan(np.frombuffer(data, np.uint8), starts, ends, fields.DECISION, KEPT)


def writes_the_same(line: bytes) -> bool:
    """Whether orjson takes the line and writes what `canonical_json` does."""
    return orjson.dumps(orjson.loads(line), option=orjson.OPT_SORT_KEYS) == canonical_json(json.loads(line))


@given(number=number_texts)
@example(number=Raw("12345678901234567.5"))
@example(number=Raw("9999999999999999.9"))
@example(number=Raw("0.00001"))
@example(number=Raw("18446744073709551616"))
@example(number=Raw("1234567890123456789"))
def test_no_number_that_orjson_writes_otherwise_is_usual(number: Raw) -> None:
    line = written({**DECISION, "context": {"a": [number, number]}, "unknown": number}).encode()
    _, found = scanned([line])
    assert not found.usual[0] or writes_the_same(line)


@given(value=values, key=st.text(max_size=5))
def test_no_value_that_orjson_writes_otherwise_is_usual(value: object, key: str) -> None:
    line = written((*DECISION.items(), (key, value), (key, value))).encode("utf-8", "surrogatepass")
    _, found = scanned([line])
    try:
        orjson.dumps(orjson.loads(line))
    except (ValueError, TypeError):
        return  # `reading` finds out, and asks the plain rule
    assert not found.usual[0] or writes_the_same(line)


@given(lines=chunks(DECISION, KEPT).map(lambda data: data.split(b"\n")))
def test_places_of_usual_lines_hold_the_fields_and_all_places_lie_inside(lines: list[bytes]) -> None:
    data, found = scanned(lines)
    assert ((found.begin == -1) == (found.end == -1)).all()
    assert (found.begin <= found.end).all()
    assert (found.end <= len(data)).all()
    for row in np.flatnonzero(found.usual).tolist():
        try:
            orjson.dumps(orjson.loads(lines[row]))
        except (ValueError, TypeError):
            continue
        read = read_line(lines[row], fields.DECISION)
        if isinstance(read, str):  # a time is not the scan's business
            assert read.endswith("_at is no RFC 3339 UTC time")
            continue
        for slot, name in enumerate(KEPT):
            begin, end = int(found.begin[slot, row]), int(found.end[slot, row])
            value = read[0][name]
            if value is None:
                assert begin == -1
            elif isinstance(value, str):
                assert data[begin:end].decode() == value
            else:
                assert json.loads(data[begin:end]) == value


@pytest.mark.parametrize("depth", [250, 251, 252, 253, 254])
def test_what_orjson_cannot_write_for_depth_the_plain_rule_refuses(depth: int) -> None:
    """The record itself is one of 254; `context` may hold 253 more."""
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        line = written({**DECISION, "unknown": Raw(opening * depth + "1" + closing * depth)}).encode()
        _, found = scanned([line])
        assert found.usual[0] == (depth <= 253)
        assert isinstance(read_line(line, fields.DECISION), str) == (depth > 253)
        if found.usual[0]:
            assert writes_the_same(line)


@given(data=st.binary(max_size=40) | st.text('{}[]",:\\-0.1eEtfn \r', max_size=40).map(str.encode))
def test_any_bytes_at_all_are_walked_to_their_end(data: bytes) -> None:
    _, found = scanned(data.split(b"\n"))
    assert not found.usual.any()
