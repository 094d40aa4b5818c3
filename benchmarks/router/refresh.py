"""What reading snapshots in the background adds to the latency of requests at a fixed rate.

A request is due every 200 microseconds (5,000 a second). Its latency runs from that moment to the end of `log`, so a
pause of 5 ms is seen by the 25 requests that are due in it, and not by one alone.
"""

from __future__ import annotations

import itertools
import multiprocessing
import pathlib
import time
from typing import NamedTuple

import numpy as np

from benchmarks.router.costs import KEYS, both
from benchmarks.router.world import BANDIT_ID, Publisher, bandits, segments
from serving_client.router import Router
from serving_client.snapshots.follow import SnapshotFollower
from serving_client.snapshots.snapshot import Snapshot
from serving_client.snapshots.stores import open_store

__all__ = ["Latency", "measure_pairs", "snapshot_bytes"]

SEGMENTS = 20


class Latency(NamedTuple):
    """Latencies of one run in milliseconds, from each request's due time.

    `p999_second` is the median over the run's seconds of each second's p99.9. A second has one snapshot. Bursts of
    other work on the machine, which fill the tail of a run, hardly change it.
    """

    refresh: bool
    requests: int
    snapshots: int
    p50: float
    p99: float
    p999: float
    p999_second: float
    most: float


def measure_pairs(work: pathlib.Path, *, pairs: int, seconds: float, rate: int) -> list[tuple[Latency, Latency]]:
    """Run without and with refresh by turns. Who comes first alternates.

    Args:
        work: Folder of snapshots and logs.
        pairs: Number of pairs.
        seconds: Length of a run.
        rate: Requests a second.
    """
    folder = work / "refresh"
    publisher = multiprocessing.get_context("spawn").Process(target=publish, args=(folder / "snapshots",), daemon=True)
    publisher.start()  # in both kinds of run, so that they share its load
    try:
        while not (folder / "snapshots" / BANDIT_ID / "LATEST").exists():
            time.sleep(0.05)
        found = []
        for number in range(pairs):
            order = (False, True) if number % 2 == 0 else (True, False)
            runs = {refresh: measure(folder, refresh, seconds, rate) for refresh in order}
            found.append((runs[False], runs[True]))
        return found
    finally:
        publisher.kill()
        publisher.join()


def publish(folder: pathlib.Path) -> None:
    """Publish a snapshot a second, in a process of its own."""
    Publisher(folder, bandits("thompson_beta").bandits[BANDIT_ID], segments(SEGMENTS)).publish_every(1.0)


def snapshot_bytes(work: pathlib.Path) -> int:
    """Size of a snapshot."""
    return Publisher(work / "size", bandits("thompson_beta").bandits[BANDIT_ID], segments(SEGMENTS)).bytes


def measure(folder: pathlib.Path, refresh: bool, seconds: float, rate: int) -> Latency:
    """One run of requests over all segments in turn."""
    content = bandits("thompson_beta")
    routers: list[Router] = []
    taken: list[int] = []

    def prepare(snapshot: Snapshot) -> None:
        taken.append(snapshot.version)
        routers[0].prepare(snapshot)

    follower = SnapshotFollower(
        open_store(str(folder / "snapshots")), content, report=print, on_new=prepare, poll_interval_s=0.5
    )
    with Router(content, snapshots=follower, log=folder / "log", keys=KEYS) as router:
        routers.append(router)
        contexts = [{"place": name} for name in segments(SEGMENTS)]
        follower.poll()
        for context in contexts * 20:
            both(router, context)
        taken.clear()
        if refresh:
            follower.start()
        times = due_latencies(router, contexts, round(seconds * rate), 10**9 // rate)
        follower.close()
    p50, p99, p999 = np.percentile(times, [50, 99, 99.9]) / 1e6
    seconds_ms = times[: len(times) // rate * rate].reshape(-1, rate) / 1e6
    by_second = np.median(np.percentile(seconds_ms, 99.9, axis=1))
    most = float(times.max() / 1e6)
    return Latency(refresh, len(times), len(taken), float(p50), float(p99), float(p999), float(by_second), most)


def due_latencies(router: Router, contexts: list[dict[str, str]], requests: int, step_ns: int) -> np.ndarray:
    """Nanoseconds from each request's due time to the end of its `log`, int64 [requests]."""
    now, sleep = time.perf_counter_ns, time.sleep
    times = np.empty(requests, np.int64)
    due = now() + step_ns
    for at, context in zip(range(requests), itertools.cycle(contexts), strict=False):
        ahead = due - now()
        if ahead > 0:
            sleep(ahead / 1e9)
        both(router, context)
        times[at] = now() - due
        due += step_ns
    return times
