"""Retries: only what may be repeated, never past the deadline, never more than the budget; shown call by call."""

from __future__ import annotations

import dataclasses
import inspect
import threading

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_client import errors
from serving_client.balancing import Balance
from serving_client.budget import Budget
from serving_client.errors import CircuitOpen, Overloaded, ServingError, Unavailable
from serving_client.retry import Retry, RetryBudget, is_repeatable, retry_delay_s
from tests.serving.client.simulation import Simulation, healthy_s

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ServingError)]
DRAWS = st.floats(0, 1, exclude_max=True)
CONFIGS = st.builds(
    Retry,
    attempts=st.integers(1, 200),
    first_delay_s=st.floats(0, 10),
    factor=st.floats(1, 10),
    max_delay_s=st.floats(0, 10),
)


@pytest.mark.parametrize("kind", CLASSES)
def test_only_unanswered_and_refused_requests_are_repeated(kind):
    repeatable = kind in (Unavailable, Overloaded)  # and not CircuitOpen, an Unavailable that was never sent
    assert is_repeatable(kind("x")) == repeatable
    assert (retry_delay_s(Retry(), 1, kind("x"), 1.0, 0.5) is not None) == repeatable
    assert retry_delay_s(Retry(), 1, kind("x"), 1.0, 0.5, idempotent=False) is None


def test_a_message_over_the_limit_is_not_repeated():
    too_large = errors.from_status(grpc.StatusCode.RESOURCE_EXHAUSTED, "Sent message larger than max (5 vs. 4)")
    queued = errors.from_status(grpc.StatusCode.RESOURCE_EXHAUSTED, "waited too long in the queue")
    full = errors.from_status(grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue is full")
    assert [retry_delay_s(Retry(), 1, error, 1.0, 0.0) for error in (too_large, queued, full)] == [None, 0.0, 0.0]


@given(CONFIGS, st.integers(1, 250), st.floats(0, 20), DRAWS, st.booleans(), st.sampled_from([Unavailable, Overloaded]))
def test_a_pause_is_below_its_ceiling_and_ends_before_the_deadline(config, attempt, left_s, draw, elsewhere, kind):
    delay_s = retry_delay_s(config, attempt, kind("x"), left_s, draw, elsewhere=elsewhere)
    if delay_s is None:
        assert attempt >= config.attempts or left_s <= config.max_delay_s
        return
    assert attempt < config.attempts
    assert 0.0 <= delay_s < left_s
    assert delay_s <= min(config.max_delay_s, config.first_delay_s * config.factor ** (attempt - 1))


def test_the_pause_is_drawn_from_the_whole_range_up_to_a_growing_ceiling():
    """Ceilings 10, 20, 40 ms … 500 ms; a draw of one half is half of each: full jitter has no floor."""
    config = Retry(attempts=10, first_delay_s=0.01, factor=2.0, max_delay_s=0.5)
    halves = [retry_delay_s(config, attempt, Unavailable("x"), 9.0, 0.5) for attempt in range(1, 9)]
    assert halves == pytest.approx([0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.25, 0.25])
    assert retry_delay_s(config, 9, Unavailable("x"), 9.0, 0.0) == 0.0


def test_an_unanswered_request_goes_elsewhere_at_once_a_refused_one_waits_first():
    assert retry_delay_s(Retry(), 1, Unavailable("x"), 1.0, 0.5, elsewhere=True) == 0.0
    assert retry_delay_s(Retry(), 1, Unavailable("x"), 1.0, 0.5, elsewhere=False) == 0.005
    assert retry_delay_s(Retry(), 1, Overloaded("x"), 1.0, 0.5, elsewhere=True) == 0.005


def test_without_time_left_nothing_is_repeated_not_even_at_once():
    assert retry_delay_s(Retry(), 1, Unavailable("x"), 0.0, 0.0, elsewhere=True) is None
    assert retry_delay_s(Retry(), 1, Unavailable("x"), 0.005, 0.5) is None
    assert retry_delay_s(Retry(), 1, Unavailable("x"), 0.0051, 0.5) == 0.005


def test_attempts_count_the_first_request():
    assert retry_delay_s(Retry(attempts=1), 1, Unavailable("x"), 1.0, 0.0) is None
    assert retry_delay_s(Retry(attempts=3), 2, Unavailable("x"), 1.0, 0.0) == 0.0
    assert retry_delay_s(Retry(attempts=3), 3, Unavailable("x"), 1.0, 0.0) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"first_delay_s": -1.0},
        {"max_delay_s": float("inf")},
        {"factor": 0.5},
        {"factor": float("nan")},
        {"budget_ratio": -0.1},
        {"budget_burst": float("nan")},
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).removeprefix("budget_")):
        Retry(**wrong)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Retry().attempts = 5


@given(st.floats(0, 2), st.integers(0, 20), st.lists(st.integers(0, 5), max_size=200))
def test_over_any_run_of_calls_retries_stay_within_ratio_and_burst(ratio, burst, asked):
    """asked: withdrawals tried after each call. The worst run that ends here is the worst before and this, or this."""
    budget = Budget(ratio, burst)
    from_start = worst = 0.0
    for wishes in asked:
        budget.deposit()
        above = sum(budget.withdraw() for _ in range(wishes)) - ratio
        from_start += above
        worst = above + max(worst, 0.0)
        assert from_start <= burst + 1e-6
        assert worst <= max(burst, 1) + 1e-6


def test_a_quiet_hour_does_not_save_up_for_a_storm():
    budget = Budget(0.1, 3)
    for _ in range(1_000):
        budget.deposit()
    assert [budget.withdraw() for _ in range(5)] == [True, True, True, False, False]


def test_ten_tenths_make_one_retry():
    """Sums of floats do not: ten times 0.1 is 0.9999999999999999."""
    budget = Budget(0.1, 0)
    allowed = []
    for _ in range(30):
        budget.deposit()
        allowed.append(budget.withdraw())
    assert [number for number, yes in enumerate(allowed, 1) if yes] == [10, 20, 30]


def test_threads_share_a_budget_without_losing_or_inventing_a_token():
    budget = RetryBudget(Retry(budget_ratio=0.5, budget_burst=10_000))
    for _ in range(10_000):
        assert budget.withdraw()
    assert not budget.withdraw()
    won = []

    def work():
        for _ in range(2_000):
            budget.deposit()
        won.append(sum(budget.withdraw() for _ in range(2_000)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won.append(sum(budget.withdraw() for _ in range(5_000)))
    assert sum(won) == 4_000


@pytest.mark.parametrize("count", [1, 3])
def test_an_outage_of_all_replicas_adds_a_tenth_to_their_load_not_three_times(count):
    def refused(index, now, rng):
        return 0.001, Unavailable("connection refused")

    retry = Retry()
    calls = Simulation(count, refused, Balance(), retry=retry).run(10, 300).drain().ended()
    retries = sum(call.retries for call in calls)
    assert len(calls) > 2_500
    assert 0.09 * len(calls) < retries <= retry.budget_ratio * len(calls) + retry.budget_burst
    assert all(isinstance(call.error, Unavailable) for call in calls)


def test_retries_hide_a_few_broken_connections_and_go_to_another_replica():
    def sometimes(index, now, rng):
        return (0.001, Unavailable("reset")) if rng.random() < 0.05 else healthy_s(index, now, rng)

    calls = Simulation(3, sometimes, Balance(), retry=Retry()).run(20, 200).drain().ended()
    assert sum(call.error is not None for call in calls) == 0
    retried = [call for call in calls if call.retries]
    assert len(retried) > 100
    assert all(len(set(call.sent)) == len(call.sent) for call in retried)


def test_an_open_circuit_is_not_knocked_at():
    assert retry_delay_s(Retry(), 1, CircuitOpen("open"), 1.0, 0.0, elsewhere=True) is None
