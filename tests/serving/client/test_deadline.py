"""Deadline: what is left shrinks with the clock and is never handed out again."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_client.deadline import Deadline


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self, now=100.0):
        self.now = now

    def __call__(self):
        return self.now


@given(st.floats(0, 1e6), st.lists(st.floats(0, 1e5), max_size=10))
def test_what_is_left_is_the_timeout_less_the_time_that_passed(timeout_s, steps):
    clock = Clock(0.0)
    deadline = Deadline(timeout_s, clock)
    before = deadline.left_s()
    assert before == timeout_s
    for step in steps:
        clock.now += step
        left_s = deadline.left_s()
        assert left_s == pytest.approx(max(0.0, timeout_s - clock.now), abs=1e-6)
        assert 0.0 <= left_s <= before  # never renewed
        assert deadline.expired == (left_s == 0.0)
        before = left_s


def test_under_a_second_is_not_a_second():
    clock = Clock()
    deadline = Deadline(1.0, clock)
    clock.now += 0.75
    assert deadline.left_s() == 0.25
    clock.now += 5
    assert deadline.left_s() == 0.0 and deadline.expired


def test_a_clock_that_steps_back_gives_no_more_than_the_timeout():
    clock = Clock()
    deadline = Deadline(1.0, clock)
    clock.now -= 50
    assert deadline.left_s() == 1.0


def test_a_call_without_a_deadline_has_none_for_grpc():
    deadline = Deadline(math.inf, Clock())
    assert deadline.left_s() == math.inf and not deadline.expired and deadline.left_or_none_s() is None
    assert Deadline(2.0, Clock()).left_or_none_s() == 2.0


@pytest.mark.parametrize("timeout_s", [-0.001, -math.inf, math.nan])
def test_a_timeout_that_is_none_is_refused(timeout_s):
    with pytest.raises(ValueError, match="timeout_s must be at least 0 seconds, got"):
        Deadline(timeout_s)
