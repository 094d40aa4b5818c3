"""The time and the memory of single calls of a router."""

from __future__ import annotations

import gc
import itertools
import pathlib
import time
import tracemalloc
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks.router.world import BANDIT_ID, Publisher, bandits, segments
from serving_client.contracts.bandits import Bandits
from serving_client.router import DecisionKeys, Router

__all__ = ["Cost", "Growth", "growth", "measure_all"]

SEGMENTS = 20
KEYS = DecisionKeys({"k1": b"0123456789abcdef0123456789abcdef"})


class Cost(NamedTuple):
    """Times of one kind of call in microseconds."""

    what: str
    calls: int
    p50: float
    p99: float
    p999: float
    most: float


class Growth(NamedTuple):
    """Traced memory in bytes and objects of the garbage collector, after a warm-up and after all calls."""

    calls: int
    bytes_before: int
    bytes_after: int
    objects_before: int
    objects_after: int


def measure_all(work: pathlib.Path, calls: int) -> list[Cost]:
    """Time every kind of call."""
    places = itertools.cycle([{"place": name} for name in segments(SEGMENTS)])
    found = []
    with made(work, "thompson_beta", keys=KEYS) as router:
        decision = router.route(BANDIT_ID, {"place": "place0"})
        assert len(decision.choice.arms) == 10
        assert decision.rung == "fresh"
        found.append(timed("route + log, Beta Thompson, signed id", lambda: both(router, next(places)), calls))
        found.append(timed("  route alone", lambda: router.route(BANDIT_ID, next(places)), calls))
        decisions = iter([router.route(BANDIT_ID, next(places)) for _ in range(calls + WARM_UP)])
        found.append(timed("  log alone", lambda: router.log(next(decisions)), calls))
        ids = iter([router.route(BANDIT_ID, next(places)).decision_id for _ in range(calls + WARM_UP)])
        found.append(timed("record, id verified", lambda: router.record(next(ids), "click", item_id="c07"), calls))
        subsets = iter(unseen_subsets())
        found.append(timed("route, first request of an eligible subset", lambda: first(router, next(subsets)), 400))
    with made(work, "thompson_beta") as router:
        found.append(timed("route + log, Beta Thompson, unsigned", lambda: both(router, next(places)), calls))
    with made(work, "lints", features=32) as router:
        contexts = itertools.cycle(features(1_000))
        found.append(timed("route + log, LinTS, 32 features", lambda: both(router, next(contexts)), calls // 10))
    return found


def growth(work: pathlib.Path, calls: int) -> Growth:
    """Trace memory over many calls of route and log, with the log written to files."""
    places = itertools.cycle([{"place": name} for name in segments(SEGMENTS)])
    with made(work, "thompson_beta", keys=KEYS) as router:
        tracemalloc.start()
        before = _state(router, places, calls // 10)
        after = _state(router, places, calls)
        tracemalloc.stop()
    return Growth(calls, before[0], after[0], before[1], after[1])


def _state(router: Router, places: itertools.cycle[dict[str, str]], calls: int) -> tuple[int, int]:
    for number in range(calls):
        both(router, next(places))
        if number % 10_000 == 0:
            flush(router)
    flush(router)
    gc.collect()
    return tracemalloc.get_traced_memory()[0], len(gc.get_objects())


def flush(router: Router) -> None:
    """Write the queues to files, so that they hold no memory."""
    for log in router._logs.values():
        log.flush()


WARM_UP = 2_000


def timed(what: str, call: Callable[[], object], calls: int) -> Cost:
    """Time single calls, after some that are not counted."""
    for _ in range(min(WARM_UP, calls)):
        call()
    now = time.perf_counter_ns
    times = np.empty(calls, np.int64)
    for at in range(calls):
        start = now()
        call()
        times[at] = now() - start
    p50, p99, p999 = np.percentile(times, [50, 99, 99.9]) / 1_000
    return Cost(what, calls, float(p50), float(p99), float(p999), float(times.max() / 1_000))


def made(work: pathlib.Path, kind: str, *, features: int = 0, keys: DecisionKeys | None = None) -> Router:
    """A router with one fresh snapshot of 20 segments."""
    folder = work / f"{kind}{'-signed' if keys else ''}"
    content: Bandits = bandits(kind, features)
    Publisher(folder / "snapshots", content.bandits[BANDIT_ID], segments(SEGMENTS)).publish()
    router = Router(content, snapshots=folder / "snapshots", log=folder / "log", keys=keys)
    until = time.monotonic() + 60
    while router.route(BANDIT_ID, {}).rung == "default":
        assert time.monotonic() < until, "the snapshot was not read"
        time.sleep(0.01)
    return router


def both(router: Router, context: dict[str, object] | dict[str, str]) -> None:
    """Route and log, as a request does."""
    router.log(router.route(BANDIT_ID, context))


def first(router: Router, eligible: list[str]) -> None:
    """Route among arms that no request has named before."""
    router.route(BANDIT_ID, {"place": "place0"}, eligible=eligible)


def unseen_subsets() -> list[list[str]]:
    """Subsets of eight, seven, six … arms."""
    arms = [f"arm{number}" for number in range(10)]
    return [list(one) for size in (8, 7, 6, 5, 4) for one in itertools.combinations(arms, size)]


def features(count: int) -> list[dict[str, object]]:
    """Contexts with 32 numbers, all different."""
    numbers = np.random.default_rng(2).normal(size=(count, 32)).tolist()
    return [{"place": "place0"} | {f"f{at}": value for at, value in enumerate(one)} for one in numbers]
