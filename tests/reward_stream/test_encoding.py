"""What a runner keeps is versioned, plain and free of class paths."""

from __future__ import annotations

import dataclasses
import pathlib
import pickle
import re
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from pipelines.reward_stream import encoding
from pipelines.reward_stream.publishing.messages import decode_message, encode_message
from pipelines.reward_stream.publishing.state import PublisherState, decode_state, encode_state
from pipelines.reward_stream.sources.coverage import Coverage, Late
from pipelines.reward_stream.sources.interface import Position
from pipelines.reward_stream.sources.progress import NumberedBlocks, SourceProgress
from pipelines.reward_stream.sources.sequencer import Mark
from pipelines.reward_stream.sources.watermarks import Watermarks
from pipelines.reward_stream.steps.shard_place import ShardPlace, decode_carry, decode_place, encode_carry, encode_place
from pipelines.reward_stream.totals.totals import TotalsState
from tests.reward_stream.publisher_setup import bandits, bandits_bytes, label, report, step
from transforms.attribution.joining.delta import FoldResult
from transforms.attribution.joining.kernels import DECISION
from transforms.attribution.statistics.exact import Exact
from transforms.attribution.statistics.rows import Decayed, Ipw, Lin, RowSums
from transforms.dead_letters import DeadLetter
from transforms.errors import Refused

LETTER = DeadLetter("decisions/a", 7, "orphan", b"\xff\x00")
WIDE = 3**99


def full_row() -> RowSums:
    """A row with a value in every field, integers of more than 64 bits among them."""
    exact = Exact(WIDE, -80)
    return RowSums(
        n=3,
        sum_r=-2,
        sum_r2=WIDE,
        fallbacks=1,
        kinds={"click": 2},
        hours={3_600_000_000: [1, 2, -WIDE]},
        decayed={"1h": Decayed(exact, Exact(-5, 3), Exact())},
        ipw=Ipw(2, 1, exact, exact, Exact(1 << 63, 0), Exact(-(1 << 63), 1)),
        lin=Lin("00ff", [1, WIDE], [-1, 0]),
    )


def full_step() -> FoldResult:
    rows = {label(): full_row(), label("b", "*"): RowSums(n=1)}
    return step(1, 4, rows, closed={label(): full_row()}, pending={label("c"): 5}, letters=(LETTER,), stop=True)


def full_mark() -> Mark:
    coverage = Coverage({}, {"a": False})
    coverage.note("a", 10, 99, {("row", 1, "late"): 2}, [Late(12, 50, ("row", 1, "late"))], 3)
    progress = SourceProgress(
        marks=Watermarks({"decisions": 5}, {"decisions": 6}, {"rewards"}, frozenset({"rewards"}), -3, -2),
        coverage={"decisions": coverage, "rewards": Coverage()},
        covered=Counter({("", 0, "malformed"): 4}),
        cut_us=-7,
        rules=bandits_bytes(),
        heard_at_us=1,
        ticked_at_us=2,
        late_files=3,
        letters=[LETTER],
        out=deque([NumberedBlocks(9, [b"\x01", b""], report(9), 8), NumberedBlocks(10, [b"", b""], None, 8)]),
    )
    return Mark(
        11,
        progress,
        {"decisions": {"a": Position(10, 20, "3:ab", 30)}, "rewards": {}},
        {"decisions": [True], "rewards": []},
    )


def full_place() -> ShardPlace:
    return ShardPlace(b"new", b"old", 5, 6, 4, 100, 101, 2, list(range(8)), 90)


def full_carry() -> dict[str, Any]:
    behind = np.zeros(3, DECISION)
    behind["hi"], behind["propensity"], behind["flags"], behind["label"] = (1 << 63) + 1, 0.25, 5, [1, 0, 1]
    return {
        "maxima": [(label(), 1, 2)],
        "behind": behind,
        "labels": [label(), label("b")],
        "outliving": [(label("c"), bandits().bandits["row"]), (label("d"), None)],
    }


def full_state() -> PublisherState:
    ledger = {"stream": {"orphan": 1}, "bandits": {"row": {"rows": [["*", "a", 1, {"sums": [1, 2, WIDE, 0]}]]}}}
    totals = TotalsState(ledger, ledger, {"row": ["free"]}, {"row": (1, {"window": "30m", "segments": ["plan"]})})
    return PublisherState(totals, b"rules", 3, (full_step(), report(4)), (LETTER,))


FORMS: dict[str, tuple[Any, Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "step": (full_step(), encode_message, decode_message),
    "report": (report(3, dead_letters=(LETTER,), rules=b"x"), encode_message, decode_message),
    "state": (full_state(), encode_state, decode_state),
    "mark": (full_mark(), encoding.encode, lambda data: encoding.decode(data, Mark)),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_value_comes_back_as_it_was(name: str) -> None:
    value, write, read = FORMS[name]
    assert read(write(value)) == value
    assert write(read(write(value))) == write(value)


def test_a_shards_place_comes_back_as_it_was() -> None:
    for place in (full_place(), ShardPlace(b"a", b"b")):
        assert decode_place(encode_place(place)) == place


def test_a_shards_carry_comes_back_as_it_was() -> None:
    carry, found = full_carry(), decode_carry(encode_carry(full_carry()))
    assert found.pop("behind").tobytes() == carry.pop("behind").tobytes()
    assert found == carry


@pytest.mark.parametrize("read", [decode_message, decode_state, decode_place, decode_carry, FORMS["mark"][2]])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x03\x90", "version 3"),
        (b"\x01\x90", "version 1"),
        (pickle.dumps((1, 2)), "pickled objects"),
        (b"", "no version"),
    ],
)
def test_another_version_is_refused_and_the_sentence_names_the_flag(
    read: Callable[[bytes], Any], data: bytes, said: str
) -> None:
    with pytest.raises(Refused, match=f"has {said}, and this recbeam reads version 2; start a new job .* in --state$"):
        read(data)


def test_no_class_path_is_stored() -> None:
    written = [write(value) for value, write, _ in FORMS.values()] + [
        encode_place(full_place()),
        encode_carry(full_carry()),
    ]
    for data in written:
        assert not re.search(rb"pipelines|transforms|serving_client|dataclass", data)
        msgspec.msgpack.decode(data[1:])  # plain values alone: no class is needed to read them


def test_the_pipeline_pickles_nothing() -> None:
    import pipelines.reward_stream

    for path in pathlib.Path(pipelines.reward_stream.__path__[0]).rglob("*.py"):
        assert not re.search(r"^\s*(import|from) (c?pickle|dill|cloudpickle)|PickleCoder", path.read_text(), re.M), path


def test_the_fields_of_version_2_are_these() -> None:
    """Another name or order of fields is another version."""
    fields = [[field.name for field in dataclasses.fields(kind)] for kind in (SourceProgress, ShardPlace)]
    assert fields == [
        ["marks", "coverage", "covered", "cut_us", "rules", "heard_at_us", "ticked_at_us", "late_files",
         "files_reread", "seq", "reported_seq", "state_at_us", "rules_sent", "rules_told", "read_bytes", "counters",
         "letters", "records_read", "lines_bad", "out", "ended"],
        ["bandits", "tick_bandits", "next_seq", "version", "tick_seq", "holding_us", "maturing_us", "bag",
         "newest_us", "opened_us"],
    ]  # fmt: skip
