"""CircuitBreaker: opens on failures in a row, lets trials through after a time, closes when they succeed."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from serving_client.breaker import CircuitBreaker


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def opened(clock, **settings):
    breaker = CircuitBreaker(clock=clock, **settings)
    while breaker.state == "closed":
        assert breaker.allow()
        breaker.failed()
    return breaker


def test_it_opens_at_that_many_failures_in_a_row_and_not_before(clock):
    breaker = CircuitBreaker(failures=3, clock=clock)
    for report in ("failed", "failed", "succeeded", "failed", "failed"):
        getattr(breaker, report)()
        assert breaker.state == "closed" and breaker.allow()
    breaker.failed()
    assert breaker.state == "open" and not breaker.allow()


def test_while_open_nothing_passes_then_one_trial_at_a_time(clock):
    breaker = opened(clock, open_s=5.0)
    clock.now += 4.999
    assert not breaker.allow()
    clock.now += 0.001
    assert breaker.state == "half open"
    assert breaker.allow() and not breaker.allow() and not breaker.allow()


def test_a_trial_that_succeeds_closes_it(clock):
    breaker = opened(clock)
    clock.now += 5
    assert breaker.allow()
    breaker.succeeded()
    assert breaker.state == "closed" and breaker.allow() and breaker.allow()
    breaker.failed()
    assert breaker.state == "closed"  # the failures from before are forgotten


def test_a_trial_that_fails_opens_it_for_the_whole_time_again(clock):
    breaker = opened(clock)
    clock.now += 7
    assert breaker.allow()
    breaker.failed()
    clock.now += 4.9
    assert breaker.state == "open" and not breaker.allow()
    clock.now += 0.1
    assert breaker.allow()


def test_several_trials_must_all_succeed(clock):
    breaker = opened(clock, half_open_calls=2)
    clock.now += 5
    assert breaker.allow() and breaker.allow() and not breaker.allow()
    breaker.succeeded()
    assert breaker.state == "half open"
    breaker.succeeded()
    assert breaker.state == "closed"


def test_late_answers_to_calls_from_before_change_nothing_while_open(clock):
    breaker = opened(clock, open_s=5.0)
    clock.now += 3
    breaker.failed()
    breaker.succeeded()
    assert breaker.state == "open"
    clock.now += 2
    assert breaker.state == "half open"


def test_a_trial_that_says_nothing_gives_its_place_back(clock):
    breaker = opened(clock)
    clock.now += 5
    assert breaker.allow()
    breaker.gave_up()
    assert breaker.allow()


def test_a_trial_that_never_reports_does_not_keep_it_half_open_for_ever(clock):
    breaker = opened(clock, open_s=5.0)
    clock.now += 5
    assert breaker.allow()
    clock.now += 4.9
    assert not breaker.allow()
    clock.now += 0.1
    assert breaker.allow()


@pytest.mark.parametrize("settings", [{"failures": 0}, {"half_open_calls": 0}, {"open_s": -1.0}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match="must be at least"):
        CircuitBreaker(**settings)


@pytest.mark.parametrize("report", ["succeeded", "failed", "gave_up"])
def test_a_call_of_before_the_opening_or_the_closing_changes_nothing_any_more(clock, report):
    breaker = CircuitBreaker(failures=1, open_s=5.0, clock=clock)
    stale = breaker.allow()
    breaker.failed(breaker.allow())
    clock.now += 5
    trial = breaker.allow()
    getattr(breaker, report)(stale)
    assert breaker.state == "half open" and not breaker.allow()
    breaker.succeeded(trial)
    for old in (stale, trial):
        getattr(breaker, report)(old)
        assert breaker.state == "closed"
    breaker.failed(breaker.allow())
    assert breaker.state == "open"


class Model(RuleBasedStateMachine):
    """Any order of calls, reports and waits."""

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.breaker = CircuitBreaker(failures=3, open_s=5.0, half_open_calls=2, clock=self.clock)

    @rule()
    def call(self):
        state = self.breaker.state
        allowed = self.breaker.allow()
        assert bool(allowed) == (state == "closed") or state == "half open"

    @rule(report=st.sampled_from(["succeeded", "failed", "gave_up"]))
    def report(self, report):
        state = self.breaker.state
        getattr(self.breaker, report)()
        if state == "open":
            assert self.breaker.state == "open"
        if report == "failed" and state == "half open":
            assert self.breaker.state == "open"
        if report == "gave_up":
            assert self.breaker.state == state

    @rule(seconds=st.floats(0, 6))
    def wait(self, seconds):
        before = self.breaker.state
        self.clock.now += seconds
        assert self.breaker.state == before or (before, self.breaker.state) == ("open", "half open")

    @rule()
    def wait_long_enough(self):
        """However it was left, it can be called again after at most two periods."""
        self.clock.now += 10
        assert self.breaker.allow()

    @invariant()
    def it_is_in_one_of_three_states(self):
        assert self.breaker.state in ("closed", "open", "half open")


TestAnyOrder = Model.TestCase
TestAnyOrder.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
