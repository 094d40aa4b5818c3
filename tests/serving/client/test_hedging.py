"""Hedging: the delay follows the healthy replicas, the budget bounds the copies, the tail gets shorter for it."""

from __future__ import annotations

import math
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_client.balancing import Balance
from serving_client.hedging import ENDPOINT_WINDOW, ENOUGH, WINDOW, Hedge, HedgeBudget, HedgeDelay
from tests.serving.client.simulation import Simulation, healthy_s, p99, share_hedged, share_sent_to

ROUND_ROBIN = Balance(policy="round_robin")
SECONDS = st.floats(1e-4, 10)


def one_slow(index, now, rng):
    """The last of three replicas takes 500 ms more from second 5 on."""
    return healthy_s(index, now, rng) + (0.5 if index == 2 and now >= 5 else 0.0)


def slow_quantile(latencies, share):
    """The least of `latencies` that at least `share` of them do not exceed."""
    return next(x for x in sorted(latencies) if sum(y <= x for y in latencies) >= share * len(latencies))


@given(st.lists(SECONDS, max_size=120), st.floats(0.01, 0.99))
def test_with_one_endpoint_the_delay_is_the_quantile_of_its_latencies(latencies, quantile):
    delay = HedgeDelay(Hedge(quantile=quantile), 1)
    for number, latency_s in enumerate(latencies, 1):
        delay.observe(0, latency_s)
        seen = latencies[:number]
        assert delay.delay_s() == (slow_quantile(seen, quantile) if number >= ENOUGH else None)


@pytest.mark.parametrize("endpoints", [1, 7, 100])
def test_the_window_forgets(endpoints):
    delay = HedgeDelay(Hedge(), endpoints)
    width = max(ENDPOINT_WINDOW, math.ceil(WINDOW / endpoints))
    for latency_s, often in ((3.0, width), (0.002, width)):
        for _ in range(often):
            for index in range(endpoints):
                delay.observe(index, latency_s)
        assert delay.delay_s() == latency_s


@pytest.mark.parametrize(("count", "slow"), [(2, 1), (3, 1), (3, 2), (4, 3), (100, 60)])
def test_slow_replicas_do_not_set_the_delay(count, slow):
    rng = random.Random(5)
    delay = HedgeDelay(Hedge(), count)
    for _ in range(400):
        for index in range(count):
            delay.observe(index, healthy_s(index, 0.0, rng) + (0.5 if index < slow else 0.0))
    assert 0.0035 < delay.delay_s() < 0.007


def test_a_fixed_delay_is_kept_from_the_first_call_on():
    delay = HedgeDelay(Hedge(after_s=0.02), 3)
    assert delay.delay_s() == 0.02
    for _ in range(100):
        delay.observe(0, 5.0)
    assert delay.delay_s() == 0.02


def test_cancelled_attempts_leave_the_quantile_where_it_is():
    """Everything above the delay is seen as a little more than the delay, for it is cancelled then."""
    whole, cut = HedgeDelay(Hedge(quantile=0.95), 1), HedgeDelay(Hedge(quantile=0.95), 1)
    rng = random.Random(2)
    for _ in range(3_000):
        latency_s = healthy_s(0, 0.0, rng)
        whole.observe(0, latency_s)
        cut.observe(0, min(latency_s, (cut.delay_s() or math.inf) * 1.2))
    assert cut.delay_s() == pytest.approx(whole.delay_s(), rel=0.02)


def test_hedging_alone_brings_the_tail_below_twice_the_healthy_one(record_property):
    """Round robin sends a third of the calls to the slow replica: the ratio has to be above that."""
    hedge = Hedge(ratio=0.5)
    run = Simulation(3, one_slow, ROUND_ROBIN, hedge=hedge).run(14, 300).drain()
    healthy = p99(Simulation(3, healthy_s, ROUND_ROBIN).run(14, 300).drain().calls)
    after = run.ended(since=7)
    record_property("extra_load", share_hedged(after))
    assert p99(after) < 2 * healthy
    assert 0.33 < share_hedged(after) < 0.45  # the extra load: the slow third, and the usual tail


def test_without_hedging_the_slow_replica_is_the_tail():
    assert p99(Simulation(3, one_slow, ROUND_ROBIN).run(10, 300).drain().ended(since=7)) > 0.5


def test_when_all_replicas_slow_down_the_budget_bounds_the_copies():
    """Everything takes ten times as long from second 5 on, hence longer than the delay that was learned."""
    hedge = Hedge()

    def tenfold(index, now, rng):
        return healthy_s(index, now, rng) * (10 if now >= 5 else 1)

    run = Simulation(3, tenfold, ROUND_ROBIN, hedge=hedge).run(8, 300).drain()
    for since in (0, 5, 6):
        calls = run.ended(since)
        assert sum(call.hedges for call in calls) <= hedge.ratio * len(calls) + hedge.burst


def test_while_all_is_well_few_calls_are_hedged_and_tokens_are_left():
    hedge = Hedge()
    run = Simulation(3, healthy_s, Balance(), hedge=hedge).run(14, 300).drain()
    assert 0.01 < share_hedged(run.ended(since=2)) < hedge.ratio
    assert run.hedge_budget.withdraw()


def test_a_hedge_goes_to_another_replica_and_the_first_answer_counts():
    def stuck_first(index, now, rng):
        return 10.0 if index == 0 else 0.002

    run = Simulation(2, stuck_first, ROUND_ROBIN, hedge=Hedge(after_s=0.005, ratio=1.0)).run(2, 100).drain()
    hedged = [call for call in run.calls if call.hedges]
    assert len(hedged) > 50
    assert all(sorted(call.sent) == [0, 1] for call in hedged)
    assert all(call.seconds == pytest.approx(0.007) for call in hedged)


def test_threads_observe_together():
    delay = HedgeDelay(Hedge(quantile=0.5), 2)
    threads = [
        threading.Thread(target=lambda index=index: [delay.observe(index, 0.001 * (n % 100)) for n in range(5_000)])
        for index in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert delay.delay_s() == 0.049


def test_the_budget_is_that_of_the_settings():
    budget = HedgeBudget(Hedge(ratio=0.25, burst=2))
    assert [budget.withdraw() for _ in range(3)] == [True, True, False]
    for _ in range(4):
        budget.deposit()
    assert [budget.withdraw() for _ in range(2)] == [True, False]


def test_hedges_and_probes_together_stay_below_a_twentieth_by_their_settings():
    assert Hedge().ratio + Balance().probe_ratio < 0.05 and 1 - Hedge().quantile < Hedge().ratio


@pytest.mark.parametrize(
    "wrong", [{"after_s": -1.0}, {"after_s": float("inf")}, {"quantile": 0.0}, {"quantile": 1.0}, {"ratio": -1.0}]
)
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Hedge(**wrong)


def test_a_delay_needs_an_endpoint():
    with pytest.raises(ValueError, match="endpoints=0"):
        HedgeDelay(Hedge(), 0)


def test_hedged_calls_are_counted_as_load_of_the_replica_they_went_to():
    run = Simulation(3, one_slow, ROUND_ROBIN, hedge=Hedge(ratio=0.5)).run(10, 200).drain()
    assert sum(share_sent_to(run.calls, index) for index in range(3)) == pytest.approx(1 + share_hedged(run.calls))
