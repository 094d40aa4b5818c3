"""A checkpoint's part about the input comes back as it was, through JSON."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from pipelines.reward_stream.publishing.messages import decode_message, keyed_message
from pipelines.reward_stream.sources.reports import PartitionState, SourceReport, SourceState

POSITIONS = st.integers(0, 2**50)
PARTITIONS = st.builds(
    PartitionState,
    start=POSITIONS,
    end=POSITIONS,
    late=st.lists(POSITIONS, max_size=3).map(tuple),
    head=st.text(max_size=5),
    listed_at_us=POSITIONS,
    all_late=st.booleans(),
)
STATES = st.builds(
    SourceState,
    cut_us=st.integers(-(2**62), 2**62),
    holding_us=st.integers(-(2**62), 2**62),
    maturing_us=st.integers(-(2**62), 2**62),
    newest_us=st.dictionaries(st.sampled_from(["decisions", "rewards"]), POSITIONS),
    idle=st.sampled_from([(), ("rewards",)]),
    partitions=st.dictionaries(
        st.sampled_from(["decisions", "rewards"]), st.dictionaries(st.text(max_size=5), PARTITIONS, max_size=3)
    ),
    counters=st.dictionaries(
        st.tuples(st.text(max_size=5), st.integers(0, 9), st.sampled_from(["late", "malformed"])), POSITIONS
    ),
    late_files=st.integers(0, 9),
)


@given(state=STATES)
def test_a_source_state_is_its_json(state: SourceState) -> None:
    assert SourceState.from_json(json.loads(json.dumps(state.to_json()))) == state


@given(state=STATES)
def test_a_report_travels_whole(state: SourceState) -> None:
    report = SourceReport(seq=3, maturing_us=1, newest_us=2, cut_us=0, state=state, rules=b"x", final=True)
    assert decode_message(keyed_message(report)[1]) == report
