"""`serving-client bench`: measure how many recommendations a second a server gives, and how long each takes.

The loop is closed: every thread waits for its answer before the next call. So a server that stalls gets fewer calls in
that time, and the percentiles cover only calls that were made. They cover the whole call, retries included. Errors are
counted by class and are not part of the percentiles.
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
    """The result of a measurement.

    Args:
        answered_s: Seconds of every call that was answered.
        errors: Number of calls that failed, by class of error.
        elapsed_s: Seconds of the whole measurement.
    """

    answered_s: Sequence[float]
    errors: Mapping[str, int]
    elapsed_s: float


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
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
    """Run the command. Ctrl-C ends the measurement early.

    One call per client comes first: it reports a mistake and opens the connections.

    Returns:
        Exit code: 1 if a call failed or none was answered, else 0.
    """
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
    """Make calls from several threads. SIGINT ends the measurement early if this is the main thread.

    Args:
        calls: Functions that make a call. Thread i uses calls[i % len(calls)]. A call fails by raising ServingError.
            Any other error ends the measurement and is raised.
        concurrency: Number of threads.
        seconds: How long to measure.
        clock: Monotonic time in seconds.
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
    """Make SIGINT set `stop` meanwhile. A KeyboardInterrupt inside the pool can leave a lock held."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def report(measured: Measured) -> str:
    """Return the table: counts, rate, times in milliseconds, and a line per class of error, most frequent first."""
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
        # Not interpolated: the time of a call that this share of the calls did not exceed.
        found = np.percentile(times_ms, PERCENTILES, method="inverted_cdf").tolist()
        rows += [[f"p{rank:.0f} ms", f"{value:.3f}"] for rank, value in zip(PERCENTILES, found, strict=True)]
        rows.append(["max ms", f"{times_ms.max():.3f}"])
    return table(("measure", "value"), rows, right=("value",))
