"""Measure what callers notice while versions are swapped, servers restart, and one replica becomes slow.

    python benchmarks/serving/resilience.py [--parts swap,restarts,slow] [--rounds 2] [--local] [--json FILE]

The items of every answer are checked. A call fails if it raises or returns other items. Clients use their defaults,
except for what a row states. All times are of calls from 4 threads on the machine of the servers.

hot swap: `python -m local_serving` serves a model with the contract's signatures. Every second a new version is copied
  and renamed, and replaces the previous version. `before` is the same load without swaps.
restarts: A server gets SIGTERM, finishes its requests in flight and restarts on the same port. The next replica
  follows when the server listens. The servers are echo servers, which start in half a second. TensorFlow's start would
  only lengthen the time without a replica. --local repeats the rolling restart with local_serving (one more minute).
one slow: Three echo servers answer after a log-normal time (--median_ms, --sigma). After a while the first of them
  takes 500 ms more. `healthy` is the same client before that, and `x healthy` is the ratio of the p99s. `hedges` are
  second requests sent beside a slow one. `probes` are first requests that went to the slow replica. Both are percent of
  the calls. With hedging alone, a third of the first requests go to the slow replica, and each needs a hedge.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.serving import echo, report
from benchmarks.serving.load import Attempts, Done, Load, percentile_ms
from benchmarks.serving.processes import ServerProcess, echo_server, export_models, local_server
from serving_client import Balance, Client, Hedge, Recommendation
from tests.serving import models

__all__ = ["main"]

THREADS = 4
CALLS = 2_000
SWAP_RATE, SWAP_EVERY_S = 250.0, 1.0
RESTART_RATE = 400.0
SLOW_S, SETTLING_S = 0.5, 2.0
MARGIN_S = 0.1
"""Between the healthy time and the delay, so that no call began in the one and was delayed."""
SLOW: dict[str, dict[str, Any]] = {
    "balancing": {"balance": Balance()},
    "balancing, hedging": {"balance": Balance(), "hedge": Hedge()},
    "hedging alone": {"balance": Balance(policy="round_robin"), "hedge": Hedge(ratio=0.5)},
}
HEADER = ["what", "calls", "failed", "2 requests", "p50 ms", "p99 ms", "max ms", "x healthy", "hedges %", "probes %"]
PARTS = ("swap", "restarts", "slow")
HISTORY = ["c01", "c07", "c12"]
ECHOED = [f"course-{number:06}" for number in range(100)]

Row = dict[str, Any]


def row(what: str, calls: Sequence[Done], **more: float) -> Row:
    """The figures of one line of the table; every failure by its class."""
    failures = [call.failure for call in calls if call.failure]
    return {
        "what": what,
        "calls": len(calls),
        "failed": len(failures),
        "2 requests": sum(call.attempts > 1 for call in calls),
        **{f"p{rank} ms": percentile_ms(calls, rank) for rank in (50, 99)},
        "max ms": percentile_ms(calls, 100),
        **more,
        "failures": {name: failures.count(name) for name in sorted(set(failures))},
    }


def asking(client: Client) -> Callable[[], Recommendation]:
    """The call that all loads make."""
    return lambda: client.recommend(HISTORY)


def hot_swap() -> list[Row]:
    """Half of CALLS without a swap, then CALLS with one a second, at one rate."""
    expected = models.recommend(HISTORY)
    with ExitStack() as stack:
        base = export_models(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        server = stack.enter_context(local_server(base, 0.2))
        client = stack.enter_context(Client(server.target, model="contract", timeout_s=5.0))
        client.recommend(HISTORY)
        with Load(asking(client), expected, THREADS, SWAP_RATE) as load:
            load.wait_for(CALLS // 2)
            before = load.stop()
        over = threading.Event()

        def publish() -> None:
            version = 2
            while not over.wait(SWAP_EVERY_S):
                models.add_version(base, version)
                version += 1

        publisher = threading.Thread(target=publish)
        with Load(asking(client), expected, THREADS, SWAP_RATE) as load:
            publisher.start()
            load.wait_for(CALLS)
            during = load.stop()
        over.set()
        publisher.join()
    swaps = len({call.version for call in during if not call.failure}) - 1
    return [row("hot swap: before", before), row(f"hot swap: during {swaps} swaps", during)]


def restarts(what: str, servers: Sequence[ServerProcess], model: str, expected: list[str], **settings: Any) -> Row:
    """At least CALLS calls while each server restarts in turn, once; it ends when the last is back."""
    with Client([server.target for server in servers], model=model, **settings) as client:
        client.recommend(HISTORY)
        with Load(asking(client), expected, THREADS, RESTART_RATE) as load:
            load.wait_for(CALLS // 10)
            for server in servers:
                server.restart()
            load.wait_for(CALLS)
            return row(what, load.stop())


def all_restarts(with_local: bool) -> list[Row]:
    """Two servers one after the other, one server without another."""
    with ExitStack() as stack:
        pair = [stack.enter_context(echo_server()) for _ in range(2)]
        echoed = echo.MODEL, ECHOED
        waiting: dict[str, Any] = {"timeout_s": 60.0, "wait_for_ready": True}
        rows = [
            restarts("rolling restart of 2, deadline 1 s", pair, *echoed, timeout_s=1.0),
            restarts("restart of 1, wait_for_ready, 60 s", pair[:1], *echoed, **waiting),
        ]
    if with_local:
        with ExitStack() as stack:
            base = export_models(Path(stack.enter_context(tempfile.TemporaryDirectory())))
            pair = [stack.enter_context(local_server(base, 1.0)) for _ in range(2)]
            asked = "contract", models.recommend(HISTORY)
            rows.append(restarts("rolling restart of 2, local_serving", pair, *asked, timeout_s=1.0))
    return rows


def one_slow(options: argparse.Namespace) -> list[Row]:
    """Healthy, then the first server slow, for each way to live with it, in turns."""
    parts: dict[str, dict[str, list[Any]]] = {name: {"healthy": [], "first": [], "after": []} for name in SLOW}
    sent: dict[str, list[Any]] = {name: [] for name in SLOW}
    with ExitStack() as stack:
        flags = [f"--median_ms={options.median_ms}", f"--sigma={options.sigma}"]
        servers = [stack.enter_context(echo_server(*flags, f"--seed={seed}")) for seed in range(3)]
        targets = [server.target for server in servers]
        for _ in range(options.rounds):
            for name, settings in SLOW.items():
                attempts = Attempts()
                with Client(targets, model=echo.MODEL, timeout_s=5.0, observers=[attempts], **settings) as client:
                    with Load(asking(client), ECHOED, THREADS) as load:
                        time.sleep(1.0)  # connections, averages, the hedges' delay
                        healthy_at = time.monotonic()
                        time.sleep(options.seconds)
                        slow_at = time.monotonic()
                        time.sleep(MARGIN_S)
                        servers[0].delay(SLOW_S)
                        time.sleep(MARGIN_S + SETTLING_S + options.seconds)
                        end_at = time.monotonic()
                        calls = load.stop()
                    servers[0].delay(0.0)
                after_at = slow_at + MARGIN_S + SETTLING_S
                borders = {"healthy": (healthy_at, slow_at), "first": (slow_at, after_at), "after": (after_at, end_at)}
                for phase, (begin, end) in borders.items():
                    parts[name][phase] += [call for call in calls if begin <= call.started_at < end]
                sent[name] += [one for one in attempts.sent if after_at <= one.started_at < end_at]
    rows = []
    for name, phases in parts.items():
        healthy_ms = percentile_ms(phases["healthy"], 99)
        rows.append(row(f"{name}: healthy", phases["healthy"]))
        rows.append(row(f"{name}: first {SETTLING_S:g} s of one slow", phases["first"]))
        count = len(phases["after"])
        extra = {
            "x healthy": percentile_ms(phases["after"], 99) / healthy_ms,
            "hedges %": 100.0 * sum(one.hedged for one in sent[name]) / count,
            "probes %": 100.0 * sum(one.first and one.target == targets[0] for one in sent[name]) / count,
        }
        rows.append(row(f"{name}: after that", phases["after"], **extra))
    return rows


def cells(found: Row) -> list[str]:
    """Numbers as the table shows them."""

    def text(name: str) -> str:
        value = found.get(name, "")
        return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)

    return [text(name) for name in HEADER]


def main(argv: Sequence[str] | None = None) -> int:
    """Always exit code 0."""
    parser = argparse.ArgumentParser(description="What callers notice of swaps, restarts and a slow replica.")
    parser.add_argument("--parts", default=",".join(PARTS), help="which of them, separated by commas (default: all)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of one slow, every client once a round")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each part of such a round")
    parser.add_argument("--median_ms", type=float, default=4.0, help="median time of an answer there")
    parser.add_argument("--sigma", type=float, default=0.5, help="of its logarithm")
    parser.add_argument("--local", action="store_true", help="repeat the rolling restart with local_serving")
    parser.add_argument("--json", type=Path, help="also write all figures there")
    options = parser.parse_args(argv)
    parts = options.parts.split(",")
    if not set(parts) <= set(PARTS):
        parser.error(f"--parts is {options.parts}; there are {', '.join(PARTS)}")
    print(report.head(["grpcio", "protobuf", "numpy", "tensorflow"]), end="\n\n", flush=True)
    rows: list[Row] = []
    if "swap" in parts:
        rows += hot_swap()
    if "restarts" in parts:
        rows += all_restarts(options.local)
    if "slow" in parts:
        rows += one_slow(options)
    print(
        f"{THREADS} threads. failed: raised, or answered other items; 2 requests: answered after a retry or a hedge.\n"
    )
    print(report.table(HEADER, [cells(found) for found in rows]))
    for found in rows:
        if found["failures"]:
            print(f"{found['what']}: {found['failures']}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
