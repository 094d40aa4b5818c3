"""A client and its replicas in simulated time: the real decisions of serving_client, no sockets, no waiting.

One event per arrival, answer, hedge timer and retry. Each attempt's latency comes from `latency_s(index, now, rng)`, or
it fails when that gives a ServingError with the time until then. What a real client adds is the sending alone.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import random

from serving_client.balancing import Endpoints, is_failure, is_unfinished
from serving_client.errors import DeadlineExceeded
from serving_client.hedging import HedgeBudget, HedgeDelay
from serving_client.retry import Retry, RetryBudget, retry_delay_s


@dataclasses.dataclass
class Call:
    """One call as its caller saw it, and what it cost. hedges: copies sent; sent: endpoints in order of sending."""

    began_at: float
    sent: list[int] = dataclasses.field(default_factory=list)
    hedges: int = 0
    retries: int = 0
    seconds: float | None = None
    error: Exception | None = None
    running: dict[int, tuple[int, float]] = dataclasses.field(default_factory=dict)  # attempt to endpoint, sent at


class Simulation:
    """Calls at `rate` per second (Poisson) against `count` endpoints, for `seconds`."""

    def __init__(self, count, latency_s, balance, *, hedge=None, retry=None, timeout_s=5.0, seed=0):
        self.now = 0.0
        self.rng = random.Random(seed)
        self.latency_s, self.timeout_s, self.hedge = latency_s, timeout_s, hedge
        self.retry = retry or Retry(attempts=1)
        self.endpoints = Endpoints(count, balance, lambda: self.now, random.Random(seed + 1).random)
        self.retry_budget = RetryBudget(self.retry)
        if hedge:
            self.hedge_delay, self.hedge_budget = HedgeDelay(hedge, count), HedgeBudget(hedge)
        self.events = []
        self.order = itertools.count()
        self.attempts = itertools.count()
        self.calls = []

    def at(self, when, act, *arguments):
        heapq.heappush(self.events, (when, next(self.order), act, arguments))

    def run(self, seconds, rate):
        end = self.now + seconds
        arrival = self.now
        while (arrival := arrival + self.rng.expovariate(rate)) < end:
            self.at(arrival, self.begin)
        while self.events and self.events[0][0] < end:
            self.now, _, act, arguments = heapq.heappop(self.events)
            act(*arguments)
        self.now = end
        return self

    def drain(self):
        """Lets what is under way end."""
        while self.events:
            self.now, _, act, arguments = heapq.heappop(self.events)
            act(*arguments)
        return self

    def begin(self):
        call = Call(self.now)
        self.calls.append(call)
        self.retry_budget.deposit()
        self.send(call, self.endpoints.pick())
        self.at(self.now + self.timeout_s, self.time_out, call)
        if self.hedge:
            self.hedge_budget.deposit()
            delay_s = self.hedge_delay.delay_s()
            if delay_s is not None:
                self.at(self.now + delay_s, self.send_hedge, call)

    def send(self, call, index):
        attempt = next(self.attempts)
        call.sent.append(index)
        call.running[attempt] = index, self.now
        self.endpoints.begin(index)
        outcome = self.latency_s(index, self.now, self.rng)
        latency_s, error = outcome if isinstance(outcome, tuple) else (outcome, None)
        self.at(self.now + latency_s, self.end, call, attempt, error)

    def send_hedge(self, call):
        if call.seconds is None and len(call.running) == 1:
            index = self.endpoints.pick(call.sent)
            if index not in call.sent and self.hedge_budget.withdraw():
                call.hedges += 1
                self.send(call, index)

    def end(self, call, attempt, error):
        if attempt not in call.running:
            return  # cancelled before
        index, sent_at = call.running.pop(attempt)
        latency_s = self.now - sent_at
        self.endpoints.finish(index, latency_s, is_failure(error), unfinished=is_unfinished(error))
        if self.hedge and error is None:
            self.hedge_delay.observe(index, latency_s)
        if error is None:
            self.close(call, None)
        elif not call.running:
            other = self.endpoints.pick(call.sent)
            left_s = call.began_at + self.timeout_s - self.now
            delay_s = retry_delay_s(
                self.retry, len(call.sent), error, left_s, self.rng.random(), elsewhere=other not in call.sent
            )
            if delay_s is None or not self.retry_budget.withdraw():
                self.close(call, error)
            else:
                call.retries += 1
                self.at(self.now + delay_s, self.again, call)

    def again(self, call):
        if call.seconds is None:
            self.send(call, self.endpoints.pick(call.sent))

    def time_out(self, call):
        if call.seconds is None:
            self.close(call, DeadlineExceeded("no answer in time"))

    def close(self, call, error):
        call.seconds, call.error = self.now - call.began_at, error
        for index, sent_at in call.running.values():
            self.endpoints.finish(index, self.now - sent_at, False, unfinished=True)
            if self.hedge:
                self.hedge_delay.observe(index, self.now - sent_at)
        call.running.clear()

    def ended(self, since=0.0):
        return [call for call in self.calls if call.began_at >= since and call.seconds is not None]


def p99(calls):
    ordered = sorted(call.seconds for call in calls)
    return ordered[int(0.99 * len(ordered))]


def share_sent_to(calls, index):
    """Requests sent to `index` per call."""
    return sum(call.sent.count(index) for call in calls) / len(calls)


def share_hedged(calls):
    return sum(call.hedges for call in calls) / len(calls)


def healthy_s(index, now, rng):
    """About 2 ms with the tail of a log-normal: p50 2.0, p95 3.9, p99 5.1 ms."""
    return rng.lognormvariate(-6.2146, 0.4)
