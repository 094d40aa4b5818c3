"""Balancing: load goes to who answers, slow and failing replicas are left alone, and asked again seldom.

The figures of the whole (99% points, shares) come from simulated time; each rule is shown by hand besides.
"""

from __future__ import annotations

import collections
import inspect
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from serving_client import errors
from serving_client.balancing import Balance, Endpoints, is_failure, is_unfinished
from serving_client.endpoint import Endpoint
from serving_client.errors import Overloaded, ServingError, Unavailable
from serving_client.hedging import Hedge
from serving_client.retry import Retry
from tests.serving.client.simulation import Simulation, healthy_s, p99, share_hedged, share_sent_to

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ServingError)]
RATES = [30, 300, 1500]
"""Calls per second: from one at a time to several in flight at each replica."""


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def endpoints(count, clock, **settings):
    return Endpoints(count, Balance(**settings), clock, random.Random(7).random)


def serve(balanced, clock, index, latency_s=0.002, **outcome):
    balanced.begin(index)
    clock.now += latency_s
    balanced.finish(index, latency_s, **outcome)


def known(balanced, clock, latency_s=0.002, often=10):
    """Every endpoint has answered `often` times."""
    for _ in range(often):
        for index in range(len(balanced)):
            serve(balanced, clock, index, latency_s)
    return balanced


def picked(balanced, often, exclude=()):
    """How often each index was picked; what is picked is begun and ended in no time."""
    counts = collections.Counter()
    for _ in range(often):
        counts[balanced.pick(exclude)] += 1
    return counts


# What the whole achieves


def degrading(slow, at=5.0, seconds=0.5):
    return lambda index, now, rng: healthy_s(index, now, rng) + (seconds if index in slow and now >= at else 0.0)


@pytest.mark.parametrize("hedge", [None, Hedge()], ids=["balancing alone", "with hedging"])
@pytest.mark.parametrize("rate", RATES)
def test_one_slow_replica_of_three_is_not_felt_after_two_seconds(rate, hedge):
    healthy_run = Simulation(3, healthy_s, Balance(), hedge=hedge, seed=1).run(3_000 / rate, rate)
    healthy = p99(healthy_run.ended(since=500 / rate))
    seconds = max(2_000 / rate, 2)
    run = Simulation(3, degrading({2}, at=2.0), Balance(), hedge=hedge, seed=2).run(4 + seconds, rate).drain()
    after = run.ended(since=4)
    assert p99(after) < 1.5 * healthy
    # All that reaches the slow replica is a probe or a hedge; hedges to the others are counted besides.
    assert share_sent_to(after, 2) + share_hedged(after) < 0.05
    if hedge is None:
        assert share_sent_to(after, 2) < 0.01


@pytest.mark.parametrize(("count", "slow"), [(2, 1), (3, 2), (100, 30)])
def test_other_shares_of_slow_replicas_are_not_felt_either(count, slow):
    run = Simulation(count, degrading(range(slow), at=2.0), Balance(), seed=3).run(7, 600).drain()
    assert p99(run.ended(since=4)) < 1.5 * p99([call for call in run.calls if call.began_at < 2])


BROKEN = {"refuses": (0.0002, Unavailable("refused")), "full": (0.0002, Overloaded("full")), "hangs": (1e9, None)}


@pytest.mark.parametrize("outcome", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("broken", [1, 2])
def test_broken_replicas_cost_next_to_no_call(outcome, broken):
    """Refusals are faster than answers; they must not draw the calls. A hanging replica shows by its timeouts."""

    def latency_s(index, now, rng):
        return outcome if index < broken and now >= 2 else healthy_s(index, now, rng)

    run = Simulation(3, latency_s, Balance(), retry=Retry(), timeout_s=1.0, seed=4).run(14, 200).drain()
    after = run.ended(since=4)
    assert sum(call.error is not None for call in after) <= 0.005 * len(after)
    assert sum(share_sent_to(after, index) for index in range(broken)) < 0.02
    assert sum(call.retries for call in after) <= 0.02 * len(after)


@pytest.mark.parametrize(("count", "tolerance"), [(3, 0.2), (50, 0.6)])
def test_equal_replicas_get_equal_shares(count, tolerance):
    calls = Simulation(count, healthy_s, Balance(), seed=5).run(10, 400).drain().calls
    shares = [share_sent_to(calls, index) * count for index in range(count)]
    assert 1 - tolerance < min(shares) and max(shares) < 1 + tolerance


@pytest.mark.parametrize("lasted_s", [0.5, 10])
def test_a_replica_that_is_well_again_gets_its_share_back(lasted_s):
    def latency_s(index, now, rng):
        return healthy_s(index, now, rng) + (0.5 if index == 0 and 2 <= now < 2 + lasted_s else 0.0)

    calls = Simulation(3, latency_s, Balance(), seed=6).run(40, 60).drain().calls
    assert share_sent_to([call for call in calls if call.began_at > 32], 0) > 0.25


@pytest.mark.parametrize("load", [0.3, 0.8, 0.93])
def test_queues_are_shorter_than_with_turns_however_busy_the_replicas_are(load):
    """Three replicas that work on one request at a time, 2 ms each on average: a queue must not look like a fault.

    Averages alone send everything to one replica until its queue is the longest, and ejecting for a queue gives the
    others more than they can take: then the median is hundreds of milliseconds instead of a few.
    """

    def middle_s(balance):
        free_at = [0.0] * 3

        def latency_s(index, now, rng):
            free_at[index] = max(free_at[index], now) + rng.expovariate(500)
            return free_at[index] - now

        ordered = sorted(
            call.seconds for call in Simulation(3, latency_s, balance, seed=8).run(6, load * 1500).drain().calls
        )
        return ordered[len(ordered) // 2]  # fmt: skip

    assert middle_s(Balance()) < middle_s(Balance(policy="round_robin"))


def test_a_replica_of_a_third_of_the_speed_gets_what_it_can_do():
    """Queues of 2, 2 and 6 ms per request at 600 calls a second: turns would give the last more than it can take."""
    free_at = [0.0] * 3

    def latency_s(index, now, rng):
        free_at[index] = max(free_at[index], now) + rng.expovariate(1 / (0.002, 0.002, 0.006)[index])
        return free_at[index] - now

    calls = Simulation(3, latency_s, Balance(), seed=9).run(6, 600).drain().ended(since=2)
    assert 0.02 < share_sent_to(calls, 2) < 0.2 and p99(calls) < 0.06


# Each rule by hand


def test_the_endpoint_with_fewer_requests_in_flight_is_picked(clock):
    balanced = known(endpoints(3, clock), clock)
    balanced.begin(0)
    balanced.begin(1)
    assert picked(balanced, 50) == {2: 50}


def test_endpoints_of_similar_speed_share_what_comes_one_at_a_time(clock):
    balanced = endpoints(3, clock)
    for _ in range(10):
        for index, latency_s in enumerate((0.002, 0.0025, 0.0035)):
            serve(balanced, clock, index, latency_s)
    assert all(count > 60 for count in picked(balanced, 300).values()) and len(picked(balanced, 300)) == 3


def test_a_slow_average_fades_until_it_is_asked_again(clock):
    """One answer of 100 ms among 2 ms, 102 ms after the last: it weighs 1 - 0.8 exp(-0.102 / 5) = 0.216, the average is
    2 + 0.216 × 98 = 23.2 ms, 5.8 times what is similar (2 × 2 ms), and fades to that in 5 s × ln 5.8 = 8.8 s."""
    balanced = known(endpoints(3, clock, memory_s=5.0), clock, often=50)
    serve(balanced, clock, 1, 0.1)
    assert 1 not in picked(balanced, 50)
    clock.now += 8.7
    assert 1 not in picked(balanced, 50)
    clock.now += 0.2
    assert 1 in picked(balanced, 50)


def test_an_endpoint_without_an_answer_is_tried_and_then_waited_for(clock):
    balanced = endpoints(3, clock)
    first = [balanced.pick() for _ in range(1)]
    for _ in range(2):
        balanced.begin(first[-1])
        first.append(balanced.pick())
    assert sorted(first) == [0, 1, 2]
    balanced.begin(first[-1])
    clock.now += 0.002
    balanced.finish(first[0], 0.002)
    balanced.begin(first[0])
    assert balanced.pick() == first[0]  # the others still owe their first answer


def test_failures_in_a_row_eject_and_a_success_between_does_not(clock):
    balanced = known(endpoints(3, clock, failures=5), clock)
    for failed in (True, True, True, True, False, True, True, True, True):
        serve(balanced, clock, 1, failed=failed)
        assert balanced.ejected == frozenset()
    serve(balanced, clock, 1, failed=True)
    assert balanced.ejected == {1}


def test_slow_answers_in_a_row_eject_and_need_factor_and_margin(clock):
    balanced = known(endpoints(3, clock, slow=5, slow_factor=3.0, slow_margin_s=0.01), clock)
    for _ in range(20):
        serve(balanced, clock, 1, 0.0119)  # 5.9 times the median, but not 10 ms more
    assert balanced.ejected == frozenset()
    for _ in range(4):
        serve(balanced, clock, 1, 0.0121)
    assert balanced.ejected == frozenset()
    serve(balanced, clock, 1, 0.0121)
    assert balanced.ejected == {1}


def test_time_that_several_requests_shared_is_divided_among_them(clock):
    balanced = known(endpoints(3, clock), clock)
    for _ in range(20):
        for _ in range(8):
            balanced.begin(1)
        clock.now += 0.04
        for shared in range(8, 0, -1):
            balanced.finish(1, 0.005 * shared)  # 5 ms each, one after the other
    assert balanced.ejected == frozenset()


def test_losers_of_hedges_count_as_slow_without_the_margin_and_early_ends_count_as_nothing(clock):
    balanced = known(endpoints(3, clock), clock)
    for _ in range(10):
        serve(balanced, clock, 0, 0.0005, unfinished=True)  # a caller with a timeout of half a millisecond
    assert balanced.ejected == frozenset()
    assert len(picked(balanced, 100)) == 3
    for _ in range(5):
        serve(balanced, clock, 1, 0.0065, unfinished=True)
    assert balanced.ejected == {1}


def test_an_early_end_does_not_interrupt_a_row_of_failures(clock):
    balanced = known(endpoints(3, clock, failures=2), clock)
    serve(balanced, clock, 1, failed=True)
    serve(balanced, clock, 1, 0.0005, unfinished=True)
    serve(balanced, clock, 1, failed=True)
    assert balanced.ejected == {1}


def test_a_probe_that_is_never_heard_of_again_is_not_repeated_before_a_whole_period(clock):
    balanced = known(endpoints(3, clock, eject_s=1.0, probe_ratio=1.0), clock)
    for _ in range(5):
        serve(balanced, clock, 1, failed=True)
    clock.now += 1.0
    assert balanced.pick() == 1
    assert 1 not in picked(balanced, 50)
    clock.now += 1.0
    assert balanced.pick() == 1


def test_an_endpoint_that_comes_back_is_judged_by_its_new_answers_alone():
    endpoint = Endpoint()
    for now in range(9):
        endpoint.learn(0.5, False, False, 0.2, 5.0, float(now))
    endpoint.readmit(9.0)
    endpoint.learn(0.004, False, False, 0.2, 5.0, 9.0)
    assert endpoint.latency_s == 0.004


def test_an_ejection_ends_with_one_probe_that_is_answered_well(clock):
    balanced = known(endpoints(3, clock, eject_s=1.0), clock)
    for _ in range(5):
        serve(balanced, clock, 1, failed=True)
    assert 1 not in picked(balanced, 500)
    clock.now += 1.0
    assert balanced.pick() == 1
    assert 1 not in picked(balanced, 50)  # one probe, not a flood
    serve(balanced, clock, 1)
    assert balanced.ejected == frozenset() and 1 in picked(balanced, 50)


def test_each_ejection_is_twice_as_long_up_to_the_longest_and_long_health_starts_anew(clock):
    balanced = known(endpoints(3, clock, eject_s=1.0, max_eject_s=6.0, probe_ratio=1.0), clock)
    for _ in range(5):
        serve(balanced, clock, 1, 0.0, failed=True)
    for expected_s in (1.0, 2.0, 4.0, 6.0, 6.0):
        clock.now += expected_s - 0.001
        assert 1 not in picked(balanced, 20)
        clock.now += 0.002
        assert balanced.pick() == 1
        serve(balanced, clock, 1, 0.0, failed=True)
    clock.now += 6.001
    assert balanced.pick() == 1
    serve(balanced, clock, 1)
    assert balanced.ejected == frozenset()
    clock.now += 7.0
    for _ in range(5):
        serve(balanced, clock, 1, 0.0, failed=True)
    clock.now += 1.001
    assert balanced.pick() == 1


def test_what_was_sent_before_an_ejection_neither_ends_nor_prolongs_it(clock):
    balanced = known(endpoints(3, clock), clock)
    for _ in range(7):
        balanced.begin(1)
    clock.now += 0.5
    for _ in range(5):
        balanced.finish(1, 0.5, failed=True)
    assert balanced.ejected == {1}
    balanced.finish(1, 0.5)
    balanced.finish(1, 0.5, failed=True)
    assert balanced.ejected == {1}
    clock.now += 1.0
    assert balanced.pick() == 1  # after the first second, not after two


def test_probes_are_a_small_share_of_the_calls_and_never_a_second_attempt(clock):
    balanced = known(endpoints(4, clock, eject_s=0.001, max_eject_s=1000.0, probe_ratio=0.01), clock)
    for index in (1, 2):
        for _ in range(5):
            serve(balanced, clock, index, failed=True)
    clock.now += 1.0
    counts = collections.Counter()
    for _ in range(1_000):
        assert balanced.pick(exclude=(0,)) == 3
        counts[balanced.pick()] += 1
        clock.now += 0.01
    assert 8 <= counts[1] + counts[2] <= 11


def test_where_calls_are_rare_a_probe_is_sent_all_the_same(clock):
    balanced = known(endpoints(3, clock, eject_s=1.0, max_eject_s=30.0), clock)
    for _ in range(5):
        serve(balanced, clock, 1, failed=True)
    clock.now += 1.0
    assert balanced.pick() == 1
    serve(balanced, clock, 1, failed=True)  # the next is due in 2 s, and 200 calls later
    clock.now += 31.9
    assert balanced.pick() != 1
    clock.now += 0.2
    assert balanced.pick() == 1


@pytest.mark.parametrize(("count", "most"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (100, 50)])
def test_never_more_than_half_are_ejected_and_the_rest_is_used(count, most, clock):
    balanced = known(endpoints(count, clock), clock)
    for _ in range(20):
        for index in range(count):
            serve(balanced, clock, index, 0.0, failed=True)
    assert len(balanced.ejected) == most
    assert not set(picked(balanced, 200)) & balanced.ejected


def test_excluded_endpoints_are_avoided_while_there_is_another(clock):
    balanced = known(endpoints(3, clock), clock)
    for _ in range(5):
        serve(balanced, clock, 2, failed=True)
    assert set(picked(balanced, 30, exclude=(0,))) == {1}
    assert set(picked(balanced, 30, exclude=(0, 1))) == {2}  # ejected, still better than one that has failed
    assert set(picked(balanced, 30, exclude=(0, 1, 2))) == {0, 1}


def test_turns_are_taken_in_order_and_learn_nothing(clock):
    balanced = endpoints(3, clock, policy="round_robin")
    order = []
    for _ in range(30):
        order.append(balanced.pick())
        serve(balanced, clock, order[-1], failed=True)
    assert all((order[n + 1] - order[n]) % 3 == 1 for n in range(29))
    assert balanced.ejected == frozenset()
    assert all(balanced.pick(exclude=(0, 2)) == 1 for _ in range(5))
    assert {balanced.pick(exclude=(0, 1, 2)) for _ in range(6)} == {0, 1, 2}


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_a_failure_of_the_endpoint_or_unfinished_or_the_callers_own(kind):
    own = {"ServingError", "InvalidRequest", "NotSupported", "CircuitOpen"}
    unfinished = {"DeadlineExceeded", "Cancelled", "ClientClosed"}
    error = kind("x")
    assert is_unfinished(error) == (kind.__name__ in unfinished)
    assert is_failure(error) == (kind.__name__ not in own | unfinished)
    assert not is_failure(None) and not is_unfinished(None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"policy": "random"},
        {"smoothing": 0.0},
        {"memory_s": 0.0},
        {"similar": 0.9},
        {"failures": 0},
        {"slow": 0},
        {"slow_factor": 1.0},
        {"slow_margin_s": -1.0},
        {"eject_s": 31.0},
        {"max_ejected": 0.6},
        {"probe_ratio": 0.0},
        {"memory_s": float("nan")},
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Balance(**wrong)


def test_a_client_needs_an_endpoint():
    with pytest.raises(ValueError, match="count=0"):
        Endpoints(0, Balance())


def test_threads_lose_no_request_in_flight():
    balanced = Endpoints(3, Balance())

    def work(seed):
        rng = random.Random(seed)
        for _ in range(1_500):
            index = balanced.pick()
            balanced.begin(index)
            balanced.finish(index, rng.random() / 100, failed=rng.random() < 0.1)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [endpoint.in_flight for endpoint in balanced._all] == [0, 0, 0]


@given(st.integers(2, 20), st.lists(st.integers(0, 19), max_size=25), st.integers(0, 2**32))
def test_pick_never_gives_an_excluded_endpoint_while_there_is_another(count, exclude, seed):
    balanced = Endpoints(count, Balance(), Clock(), random.Random(seed).random)
    index = balanced.pick(exclude)
    assert 0 <= index < count
    assert index not in exclude or set(range(count)) <= set(exclude)


class Model(RuleBasedStateMachine):
    """Any order of picks, ends, waits, on any number of endpoints."""

    def __init__(self):
        super().__init__()
        self.clock, self.flying = Clock(), []

    @initialize(count=st.integers(1, 12), seed=st.integers(0, 999))
    def start(self, count, seed):
        self.balanced = Endpoints(count, Balance(failures=2, slow=2), self.clock, random.Random(seed).random)

    @rule(exclude=st.sets(st.integers(0, 11)))
    def send(self, exclude):
        index = self.balanced.pick(exclude)
        assert 0 <= index < len(self.balanced)
        assert index not in exclude or len(exclude & set(range(len(self.balanced)))) == len(self.balanced) or (
            len(self.balanced) == 1
        )  # fmt: skip
        self.balanced.begin(index)
        self.flying.append((index, self.clock.now))

    @precondition(lambda self: self.flying)
    @rule(which=st.integers(0, 99), outcome=st.sampled_from(["answered", "failed", "unfinished"]))
    def end(self, which, outcome):
        index, sent_at = self.flying.pop(which % len(self.flying))
        self.balanced.finish(
            index, self.clock.now - sent_at, outcome == "failed", unfinished=outcome == "unfinished"
        )  # fmt: skip

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.5, 40.0, 1e5]))
    def wait(self, seconds):
        self.clock.now += seconds

    @invariant()
    def at_most_half_are_ejected_and_the_rest_is_available(self):
        ejected = self.balanced.ejected
        assert len(ejected) <= len(self.balanced) // 2
        assert sorted([*ejected, *self.balanced._available]) == list(range(len(self.balanced)))

    @invariant()
    def what_is_in_flight_is_counted(self):
        counts = collections.Counter(index for index, _ in self.flying)
        assert [endpoint.in_flight for endpoint in self.balanced._all] == [counts[n] for n in range(len(self.balanced))]


TestAnyOrder = Model.TestCase
TestAnyOrder.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
