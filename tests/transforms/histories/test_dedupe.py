"""Deduplication against plain Python, whatever the order, and in steps as an incremental run takes it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.errors import BadInput
from transforms.histories.dedupe import deduplicate, taken_back

RULES = ("last", "first", "sum", "max")
EVENTS = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from([0.0, 0.1, 0.3, 1.0, 2.5]), st.integers(0, 4)), min_size=1
)


def slow(events: list[tuple[int, float, int]], rule: str) -> dict[int, tuple[float, int]]:
    """One event after another, in the order (time, weight)."""
    kept: dict[int, tuple[float, int]] = {}
    for key, weight, time in sorted(events, key=lambda event: (event[2], event[1])):
        old = kept.get(key)
        if old is None or rule == "last":
            kept[key] = (weight, time)
        elif rule == "sum":
            kept[key] = (round(old[0] * 2**30) / 2**30 + round(weight * 2**30) / 2**30, time)
        elif rule == "max":
            kept[key] = (max(old[0], weight), time)
    return kept


def fast(events: list[tuple[int, float, int]], rule: str, weights: bool = True, times: bool = True) -> dict[int, tuple]:
    keys = np.array([event[0] for event in events], np.int64)
    merged = deduplicate(
        keys,
        np.array([event[1] for event in events]) if weights else None,
        np.array([event[2] for event in events], np.int64) if times else None,
        rule,  # type: ignore[arg-type]
    )
    assert (np.diff(merged.keys) > 0).all()
    found_weights = merged.weights if merged.weights is not None else np.ones(len(merged.keys))
    found_times = merged.timestamps if merged.timestamps is not None else np.zeros(len(merged.keys), np.int64)
    return dict(zip(merged.keys.tolist(), zip(found_weights.tolist(), found_times.tolist(), strict=True), strict=True))


@given(events=EVENTS, rule=st.sampled_from(RULES))
def test_each_rule_equals_one_event_after_another(events: list, rule: str) -> None:
    expected = slow(events, rule)
    found = fast(events, rule)
    assert found.keys() == expected.keys()
    for key, (weight, time) in expected.items():
        assert found[key] == (pytest.approx(weight, abs=2**-29), time)


@given(events=EVENTS, rule=st.sampled_from(RULES), order=st.randoms(use_true_random=False))
def test_order_of_arrival_changes_nothing(events: list, rule: str, order) -> None:
    shuffled = list(events)
    order.shuffle(shuffled)
    assert fast(shuffled, rule) == fast(events, rule)


@given(events=EVENTS, more=EVENTS, rule=st.sampled_from(RULES))
def test_merging_a_result_with_later_events_equals_merging_all(events: list, more: list, rule: str) -> None:
    once = [(key, weight, time) for key, (weight, time) in fast(events, rule).items()]
    assert fast(once + more, rule) == fast(events + more, rule)


def test_without_times_last_is_the_heaviest_and_without_weights_sum_counts() -> None:
    events = [(1, 0.5, 0), (1, 2.0, 0), (2, 1.0, 0)]
    assert fast(events, "last", times=False) == {1: (2.0, 0), 2: (1.0, 0)}
    assert fast(events, "sum", weights=False, times=False) == {1: (2.0, 0), 2: (1.0, 0)}
    assert fast(events, "last", weights=False, times=False) == {1: (1.0, 0), 2: (1.0, 0)}


def test_a_sum_too_large_to_be_exact_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(BadInput, match="scale the weights down"):
        fast([(1, 6e6, 0), (1, 6e6, 1)], "sum")
    assert fast([(1, 6e6, 0), (2, 6e6, 1)], "sum") == {1: (6e6, 0), 2: (6e6, 1)}


def test_a_sum_of_one_is_rounded_whoever_is_beside_it() -> None:
    """0.1 is no multiple of 2^-30: rounded only beside a repetition, it would depend on the sharding."""
    assert fast([(0, 0.1, 0)], "sum")[0] == fast([(0, 0.1, 0), (2, 1.0, 0), (2, 1.0, 0)], "sum")[0]


@given(events=EVENTS)
def test_taken_back_are_all_events_of_a_key_that_ends_with_weight_0(events: list) -> None:
    keys, weights, times = (np.array(column) for column in zip(*events, strict=True))
    ends = slow(events, "last")
    assert taken_back(keys, weights, times).tolist() == [ends[key][0] == 0 for key, _, _ in events]
