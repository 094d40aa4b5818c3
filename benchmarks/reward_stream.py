"""Measure throughput, latency, memory and restart time of reward_stream, and verify its results.

    python benchmarks/reward_stream.py --work=DIR [batch] [stream] [restart] [memory]      (all four: about 25 min)

Logs are generated under DIR (about 8 GB for all parts). Plain Python computes the statistics that they imply, and the
published statistics must equal them. The stream is the command in its own process, on Prism, over files that appear at
the times of their events. Two lines of `batch` show the effect of blocks: our join, and the same join with one element
per event and one dictionary per decision, on the same log.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.rewards import bounded, memory, restarts, sustained
from benchmarks.rewards.worlds import CONTEXTUAL
from benchmarks.serving.report import head, table

_PARTS = ("batch", "stream", "restart", "memory")


def main(argv: Sequence[str] | None = None) -> int:
    """Prints one table a part; 1 if something published is not the truth."""
    options = _parser().parse_args(argv)
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    print(head(["apache-beam", "numpy", "numba", "orjson", "pyarrow"]))
    record: dict[str, Any] = {}
    wrong: list[str] = []
    for part in options.parts or _PARTS:
        print(f"\n{part}", flush=True)
        record[part], text, faults = _RUNS[part](work, options)
        print(text, flush=True)
        wrong += [f"{part}: {fault}" for fault in faults]
    if options.json:
        options.json.write_text(json.dumps(record, indent=1))
    print("\n" + ("all published statistics equal the truth" if not wrong else "WRONG: " + "; ".join(wrong)))
    return bool(wrong)


def _batch(work: pathlib.Path, options: argparse.Namespace) -> tuple[Any, str, list[str]]:
    imported_s, warm_s, timed = bounded.run(work, options.decisions, options.peer_decisions, options.repeats)
    rows = [
        [each.name, f"{each.events:,}", f"{min(each.seconds):.2f}", f"{np.median(each.seconds):.2f}",
         f"{each.events / np.median(each.seconds):,.0f}"]
        for each in timed
    ]  # fmt: skip
    text = table(["", "events", "least s", "median s", "events/s"], rows)
    text += f"\nimports {imported_s:.1f} s, first small run {warm_s:.1f} s, neither in the table"
    medians = [float(np.median(each.seconds)) for each in timed]
    text += f"\non one log each: {medians[2] / medians[1]:.0f} times the speed of keyed state per event"
    text += f", {medians[4] / medians[3]:.1f} times that of grouping"
    return [dataclasses.asdict(each) for each in timed], text, [fault for each in timed for fault in each.wrong]


def _stream(work: pathlib.Path, options: argparse.Namespace) -> tuple[Any, str, list[str]]:
    seen = sustained.run(work, options.rate, options.seconds, "--publish_interval=10s")
    rows = []
    for name, latencies in (("matured", seen.matured_s), ("corrected by a late reward", seen.corrected_s)):
        p50, p95, p99, worst = np.percentile(latencies, [50, 95, 99, 100])
        rows.append([name, f"{len(latencies)}", f"{p50:.2f}", f"{p95:.2f}", f"{p99:.2f}", f"{worst:.2f}"])
    text = f"{seen.events:,} lines at {options.rate:,} a second for {seen.seconds} s, published every 10 s\n"
    text += table(["arrival to snapshot, s", "probes", "p50", "p95", "p99", "worst"], rows)
    moments = []
    for before, after in zip(seen.samples[:-30:30], seen.samples[30::30], strict=False):
        took_s = after.at_s - before.at_s
        moments.append([
            f"{after.at_s - seen.started_s:.0f}", f"{after.python_mib:.0f}", f"{after.prism_mib:.0f}",
            f"{(after.python_cpu_s - before.python_cpu_s) / took_s:.0%}",
            f"{(after.prism_cpu_s - before.prism_cpu_s) / took_s:.0%}",
        ])  # fmt: skip
    text += "\n\n" + table(["second", "Python MiB", "Prism MiB", "Python CPU", "Prism CPU"], moments)
    record = dataclasses.asdict(seen)
    return record, text, seen.wrong


def _restart(work: pathlib.Path, options: argparse.Namespace) -> tuple[Any, str, list[str]]:
    seen = [restarts.run(work, events) for events in options.restarts]
    rows = [
        [f"{each.events:,}", f"{each.fresh_s:.1f}", f"{each.records_reread:,}", f"{each.state_bytes / 1e3:.0f}"]
        for each in seen
    ]
    text = table(["events before the kill", "s to a fresh snapshot", "records read again", "state kB"], rows)
    return [dataclasses.asdict(each) for each in seen], text, [fault for each in seen for fault in each.wrong]


def _memory(work: pathlib.Path, options: argparse.Namespace) -> tuple[Any, str, list[str]]:
    few, many = options.open // 4, options.open
    seen = [
        memory.run(work, "1 reward to 10", (few, many)),
        memory.run(work, "2 rewards to 1", (few // 3, many // 3), "--rewards_per_decision=2"),
        memory.run(work, "8 features", (few // 3, many // 3), bandits=CONTEXTUAL),
    ]
    rows = [
        [each.name, f"{each.open_decisions:,}", f"{each.python_bytes:.0f}", f"{each.prism_bytes:.0f}",
         f"{each.python_bytes + each.prism_bytes:.0f}"]
        for each in seen
    ]  # fmt: skip
    text = table(["bytes an open decision", "open", "worker", "Prism", "both"], rows)
    return [dataclasses.asdict(each) for each in seen], text, []


_RUNS = {"batch": _batch, "stream": _stream, "restart": _restart, "memory": _memory}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*_PARTS, []], help="all of them if none is named")
    parser.add_argument("--work", type=pathlib.Path, required=True, help="folder for logs, kept for the next run")
    parser.add_argument("--decisions", type=int, default=1_000_000, help="of the bounded run (1000000)")
    parser.add_argument("--peer_decisions", type=int, default=20_000, help="of the run beside the peer (20000)")
    parser.add_argument("--repeats", type=int, default=5, help="of the bounded run (5)")
    parser.add_argument("--rate", type=int, default=40_000, help="events per second of the stream (40000)")
    parser.add_argument("--seconds", type=int, default=300, help="of the stream (300)")
    parser.add_argument("--restarts", type=int, nargs="*", default=[1_000_000, 5_000_000], help="events before a kill")
    parser.add_argument("--open", type=int, default=2_000_000, help="open decisions of the memory part (2000000)")
    parser.add_argument("--json", type=pathlib.Path, help="write all figures there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
