"""Check that reward_stream keeps its promises when it is killed with -9 repeatedly while its input and sink misbehave.

    python benchmarks/reward_chaos.py                         # 20 kills over 200,000 events, about 6 min
    python benchmarks/reward_chaos.py --kills=4 --decisions=18000 --rate=150 --speed=5

Files arrive late, twice and in pieces. Rewards pause for a while. The sink rejects writes for a while, also across a
restart. Afterwards the same command runs undisturbed to its end. The first table has one line per run: when it was
killed, and the time from its start to the first version that a reader saw. The second table has one line per promise.
If a promise does not hold, the exit code is 1 and the folder is kept. --work also keeps it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import shutil
import statistics
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import rich.box
import rich.console
import rich.table

from benchmarks.rewards.chaos.run import Chaos, Report, run_chaos
from benchmarks.serving.report import head
from examples.reward_stream.world import Knobs

# What is outside the promise that stream equals batch is left out, but for what the truth allows for.
KNOBS = dataclasses.replace(Knobs().clean(), malformed=0.001, future=0.001, late=0.002)


def main() -> int:
    """Run it and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--kills", type=int, default=20, help="how often the stream is killed (20)")
    add("--decisions", type=int, default=180_000, help="distinct decisions; one event in eleven is a reward (180000)")
    add("--rate", type=float, default=1_000.0, help="events per second of event time (1000)")
    add("--speed", type=float, default=0.8, help="seconds of event time delivered per second (0.8)")
    add("--seed", type=int, default=1, help="of all randomness but the machine's (1)")
    add("--work", type=pathlib.Path, help="an empty folder that keeps everything (a temporary one)")
    add("--json", type=pathlib.Path, help="write the findings here, too")
    options = parser.parse_args()
    work = options.work or pathlib.Path(tempfile.mkdtemp(prefix="reward-chaos-"))
    chaos = Chaos.drawn(
        options.kills,
        options.seed,
        decisions=options.decisions,
        rate=options.rate,
        speed=options.speed,
        knobs=KNOBS,
        again=True,
    )
    report = run_chaos(chaos, work)
    holds = all(check.holds for check in report.checks)
    print_report(report, rich.console.Console(width=max(rich.console.Console().width, 120)))
    if options.json:
        found = {
            "runs": [dataclasses.asdict(run) for run in report.runs],
            "fresh_s": report.fresh_s,
            "versions": report.versions,
            "checks": [dataclasses.asdict(check) for check in report.checks],
        }
        options.json.write_text(json.dumps(found, indent=1))
    if not holds:
        print(f"see {work}", file=sys.stderr)
    elif options.work is None:
        shutil.rmtree(work)
    return 0 if holds else 1


def print_report(report: Report, console: rich.console.Console) -> None:
    """Both tables."""
    console.print(head(["apache-beam", "numpy", "numba", "pyarrow"]), markup=False, highlight=False)
    odd = ", ".join(f"{count:,} {name}" for name, count in report.world.counts.items())
    since, until = report.world.silence
    lines = sum(each.data.count(b"\n") for each in report.world.plan)
    console.print(
        f"{lines:,} lines in {len(report.world.plan):,} deliveries over {report.world.span_s:.0f} s of event time and "
        f"{report.duration_s:.0f} s; {odd}; no rewards from {since:.0f} to {until:.0f} s; "
        f"the sink refused {report.refusals} times",
        highlight=False,
    )
    table = rich.table.Table("run", "killed while", "lived, s", "first version after, s", box=rich.box.SIMPLE_HEAD)
    for number, (run, fresh_s) in enumerate(zip(report.runs, report.fresh_s, strict=True)):
        lived_s = run.ended_at - run.started_at
        fresh = "-" if fresh_s is None else f"{fresh_s:.1f}"
        table.add_row(str(number), run.mode or f"exit {run.exit_code}", f"{lived_s:.1f}", fresh)
    console.print(table)
    times = [each for each in report.fresh_s if each is not None]
    versions = ", ".join(f"{name} {count}" for name, count in report.versions.items())
    console.print(
        f"{len(report.runs)} starts; first version after {statistics.median(times):.1f} s (median), "
        f"{max(times):.1f} s (worst); versions seen: {versions}",
        highlight=False,
    )
    table = rich.table.Table("promise", "holds", "found", box=rich.box.SIMPLE_HEAD)
    for check in report.checks:
        table.add_row(check.name, "yes" if check.holds else "[red]no[/red]", check.found)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
