"""Time a router: single calls, memory over a million calls, and latency while snapshots are read.

    python benchmarks/routing.py                          # about 8 minutes
    python benchmarks/routing.py calls memory refresh     # all parts; each can be named alone
    python benchmarks/routing.py refresh --pairs=5 --seconds=20 --rate=5000

| lines | question they answer |
|---|---|
| `route + log, Beta Thompson, signed id` | what does routing add to a request, with the probabilities at hand? |
| `route, first request of an eligible subset` | what does the first request of a case pay? |
| `growth` | does a million of calls leave memory behind? |
| `without`, `with` refresh | what does reading a snapshot a second add, from each request's due time? |

Run it on a machine that does nothing else. The head states the load at the start.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.router.costs import Cost, Growth, growth, measure_all
from benchmarks.router.refresh import Latency, measure_pairs, snapshot_bytes
from benchmarks.serving.report import head, table

PARTS = ("calls", "memory", "refresh")


def main() -> int:
    """Run the parts and print a table for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)} (all)")
    add("--calls", type=int, default=50_000, help="timed calls of a kind (50000)")
    add("--memory_calls", type=int, default=1_000_000, help="calls between the two looks at memory (1000000)")
    add("--pairs", type=int, default=5, help="pairs of runs without and with refresh (5)")
    add("--seconds", type=float, default=20.0, help="length of such a run (20)")
    add("--rate", type=int, default=5_000, help="requests a second in such a run (5000)")
    add("--json", type=pathlib.Path, help="write the findings here, too")
    options = parser.parse_args()
    if unknown := sorted(set(options.parts) - set(PARTS)):
        parser.error(f"{unknown[0]!r} is not a part; use {', '.join(PARTS)}")
    parts = options.parts or PARTS
    print(head(["numpy", "scipy", "orjson"]))
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="routing-") as name:
        work = pathlib.Path(name)
        if "calls" in parts:
            costs = measure_all(work, options.calls)
            print_costs(costs)
            found["calls"] = [one._asdict() for one in costs]
        if "memory" in parts:
            grown = growth(work, options.memory_calls)
            print_growth(grown)
            found["memory"] = grown._asdict()
        if "refresh" in parts:
            pairs = measure_pairs(work, pairs=options.pairs, seconds=options.seconds, rate=options.rate)
            print_refresh(pairs, options.rate, snapshot_bytes(work))
            found["refresh"] = [[run._asdict() for run in pair] for pair in pairs]
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 0


def print_costs(costs: list[Cost]) -> None:
    """Microseconds per kind of call."""
    print("\nMicroseconds per call, 10 arms, one thread, log to files")
    rows = [
        (one.what, f"{one.calls:,}", f"{one.p50:.1f}", f"{one.p99:.1f}", f"{one.p999:.0f}", f"{one.most:,.0f}")
        for one in costs
    ]
    print(table(("call", "calls", "p50", "p99", "p99.9", "max"), rows))


def print_growth(grown: Growth) -> None:
    """Memory before and after."""
    print(f"\nMemory over {grown.calls:,} calls of route + log (tracemalloc), after a warm-up of a tenth of them")
    rows = [
        ("traced KiB", f"{grown.bytes_before / 1024:,.0f}", f"{grown.bytes_after / 1024:,.0f}"),
        ("objects", f"{grown.objects_before:,}", f"{grown.objects_after:,}"),
    ]
    print(table(("growth", "before", "after"), rows))


def print_refresh(pairs: list[tuple[Latency, Latency]], rate: int, size: int) -> None:
    """Milliseconds of every run, and the median difference."""
    print(
        f"\nMilliseconds from the due time, {rate:,} requests a second, a snapshot of {size / 1e6:.1f} MB a second "
        "(10 arms, 20 segments)"
    )
    rows = [
        (
            f"{number}: {'with' if run.refresh else 'without'} refresh",
            f"{run.requests:,}",
            str(run.snapshots),
            *(f"{value:.2f}" for value in (run.p50, run.p99, run.p999, run.p999_second, run.most)),
        )
        for number, pair in enumerate(pairs, 1)
        for run in pair
    ]
    print(table(("run", "requests", "snapshots", "p50", "p99", "p99.9", "p99.9 by second", "max"), rows))
    differences = statistics.median(after.p999 - before.p999 for before, after in pairs)
    by_second = statistics.median(after.p999_second - before.p999_second for before, after in pairs)
    print(f"median difference of p99.9: {differences:.2f} ms; of the median second's p99.9: {by_second:.2f} ms")


if __name__ == "__main__":
    sys.exit(main())
