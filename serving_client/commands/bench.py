"""`serving-client bench`: how many recommendations a second does a server give, and how long does each take?

A closed loop: every thread waits for its answer before it asks again, so a server that stalls is asked less in that
time, and the percentiles are those of calls that were made. They are of the whole call as a page sees it, retries
included; errors are counted by class and have no part in the percentiles.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from serving_client.client import Client
from serving_client.commands.options import add_model, add_query, add_version, positive_count, positive_s
from serving_client.commands.tables import counted, table
from serving_client.errors import ServingError

__all__ = ["Measured", "add_to", "measure", "report", "run"]

EXAMPLE = "example: %(prog)s --server=localhost:8500 --model=cf --seconds=10 --concurrency=16 c07 c12"
PERCENTILES = (50.0, 90.0, 99.0)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured. answered_s: seconds of every call that was answered. errors: count by class of error."""

    answered_s: Sequence[float]
    errors: Mapping[str, int]
    elapsed_s: float


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    add_model(parser)
    add_version(parser, label=True)
    add_query(parser)
    parser.add_argument(
        "--seconds", type=positive_s, default=10.0, metavar="SECONDS", help="seconds to measure (default: 10)"
    )
    parser.add_argument(
        "--concurrency",
        type=positive_count,
        default=8,
        metavar="N",
        help="threads that call at the same time (default: 8)",
    )
    parser.add_argument(
        "--connections",
        type=positive_count,
        default=1,
        metavar="N",
        help="connections to each server; the threads share them evenly (default: 1)",
    )


def run(options: argparse.Namespace) -> int:
    """Asks once, so that a mistake is named and connections are open; then measures, prints, and ends with 1 if no call
    was answered. Ctrl-C ends the measurement early."""
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(Client(options.server, model=options.model, timeout_s=options.timeout))
            for _ in range(min(options.connections, options.concurrency))
        ]

        def call(client: Client) -> None:
            client.recommend(
                options.history,
                exclude=options.exclude,
                k=options.k,
                version=options.version,
                version_label=options.label,
            )

        for client in clients:
            call(client)
        measured = measure(
            [functools.partial(call, client) for client in clients], options.concurrency, options.seconds
        )
    print(report(measured))
    asked = ", ".join(options.server)
    failed = sum(measured.errors.values())
    counts = f"{counted(len(measured.answered_s), 'call')} answered, {failed} failed in {measured.elapsed_s:.1f} s"
    loop = f"{counted(options.concurrency, 'thread')} on {counted(len(clients), 'connection')}"
    print(f"{asked}: {counts} with {loop}", file=sys.stderr)
    return 1 if failed or not measured.answered_s else 0


def measure(
    calls: Sequence[Callable[[], None]],
    concurrency: int,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> Measured:
    """Makes calls from `concurrency` threads for `seconds`, thread i with calls[i % len(calls)].

    SIGINT ends it early, where this is the main thread. A call answers by returning and fails by raising ServingError;
    anything else that it raises ends the measurement and is raised.
    """
    stop = threading.Event()
    started_at = clock()

    def ask(call: Callable[[], None]) -> tuple[list[float], collections.Counter[str]]:
        answered_s: list[float] = []
        errors: collections.Counter[str] = collections.Counter()
        try:
            while not stop.is_set() and (asked_at := clock()) < started_at + seconds:
                try:
                    call()
                except ServingError as error:
                    errors[type(error).__name__] += 1
                else:
                    answered_s.append(clock() - asked_at)
        except BaseException:
            stop.set()
            raise
        return answered_s, errors

    with _interrupts_set(stop), concurrent.futures.ThreadPoolExecutor(concurrency) as pool:
        threads = [pool.submit(ask, calls[number % len(calls)]) for number in range(concurrency)]
        parts = [thread.result() for thread in threads]
    elapsed_s = clock() - started_at
    answered_s = [one for part, _ in parts for one in part]
    return Measured(answered_s, sum((errors for _, errors in parts), collections.Counter()), elapsed_s)


@contextlib.contextmanager
def _interrupts_set(stop: threading.Event) -> Iterator[None]:
    """SIGINT sets `stop` meanwhile: KeyboardInterrupt, raised amid the pool's own lines, can leave a lock held."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def report(measured: Measured) -> str:
    """The table: counts, rate, times in milliseconds, and a line for every class of error, most frequent first."""
    failed = sum(measured.errors.values())
    times_ms = np.array(measured.answered_s, np.float64) * 1000.0
    rows = [
        ["calls", str(len(times_ms) + failed)],
        ["failed", str(failed)],
        *(
            [f"failed: {name}", str(count)]
            for name, count in sorted(measured.errors.items(), key=lambda one: (-one[1], one[0]))
        ),
        ["answered/s", f"{len(times_ms) / measured.elapsed_s:.1f}"],
    ]
    if len(times_ms):
        # A time that some call took, not one between two: the smallest that this share of the calls stayed within.
        found = np.percentile(times_ms, PERCENTILES, method="inverted_cdf").tolist()
        rows += [[f"p{rank:.0f} ms", f"{value:.3f}"] for rank, value in zip(PERCENTILES, found, strict=True)]
        rows.append(["max ms", f"{times_ms.max():.3f}"])
    return table(("measure", "value"), rows, right=("value",))
