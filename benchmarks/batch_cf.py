"""Measure the time of batch_cf from files to written neighbors, beside libraries that do the same.

    python benchmarks/batch_cf.py --data gowalla/train.parquet
    python benchmarks/batch_cf.py --synthetic 6500000 --repeats 3
    python benchmarks/batch_cf.py --synthetic 650000 --scale --plot growth.png

The two lines that answer are "recbeam, the pipeline" and "implicit CosineRecommender". benchmarks/README.md explains
the other lines. The similarity is unweighted cosine. All outputs are read back and compared before a time counts. The
exit code is 1 if an output differs or a contender fails. The benchmark sets no threshold for times.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # a script's own folder is not a place to import from; the project's root is

import pyarrow as pa  # noqa: E402
from rich.console import Console  # noqa: E402

from benchmarks.cf import inputs, measure, report, synthetic  # noqa: E402
from benchmarks.cf.contenders import CONTENDERS, PIPELINE  # noqa: E402
from benchmarks.cf.processes import Job  # noqa: E402

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    arguments = _parser().parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    with _folder(arguments) as folder:
        work = Path(folder)
        data = arguments.data
        if data is None:
            data = str(work / "synthetic.parquet")
            _say(f"synthetic log of {arguments.synthetic:,} rows")
            synthetic.write(Path(data), arguments.synthetic, arguments.items, arguments.seed)
            arguments.user_column, arguments.item_column = "user", "item"
        job = Job(PIPELINE, data, arguments.user_column, arguments.item_column, arguments.top_k, arguments.threads, "")
        facts: dict[str, Any] = report.machine(arguments.threads)
        try:
            shape = inputs.shape_of(data, job.user_column, job.item_column)
        except (OSError, ValueError, pa.ArrowException) as error:
            print(f"{data}: {error}; pass --data a Parquet file or folder, and its column names", file=sys.stderr)
            return 3
        name = arguments.data or f"synthetic({arguments.synthetic}, items={arguments.items}, seed={arguments.seed})"
        report.show_head(console, facts, name, shape, job.top_k)
        facts |= {"data": name, "shape": dataclasses.asdict(shape), "top_k": job.top_k}
        whole = _scale if arguments.scale else _compare
        failed = whole(arguments, job, shape, work, console, facts)
    if arguments.json:
        arguments.json.write_text(json.dumps(facts, indent=1) + "\n")
    return 1 if failed else 0


def _compare(
    arguments: argparse.Namespace, job: Job, shape: inputs.Shape, work: Path, console: Console, facts: dict[str, Any]
) -> bool:
    """All contenders, the fixed cost, the cold run and, on request, the stages; True if an output differs."""
    asked = arguments.contenders
    chosen = [c for c in CONTENDERS if (c.name in asked if asked else shape.multiply_adds <= c.most_multiply_adds)]
    left_out = [c.name for c in CONTENDERS if not asked and c not in chosen]
    if left_out:
        console.print(
            f"left out, too many pairs for a join in memory (name them in --contenders): {', '.join(left_out)}"
        )
    lines = measure.run_rounds(chosen, job, work, arguments.repeats, arguments.slow_repeats, _say)
    pipeline = any(line.contender.name == PIPELINE and not line.problem for line in lines)
    fixed = measure.fixed_cost(job, work, arguments.repeats, _say) if pipeline else []
    cold = measure.cold_run(job, work, _say) if pipeline and not arguments.no_cold else None
    report.show_contenders(console, lines, fixed)
    report.show_answers(console, lines, fixed, cold)
    facts["contenders"] = [
        {"name": line.contender.name} | {k: v for k, v in dataclasses.asdict(line).items() if k != "contender"}
        for line in lines
    ]
    facts |= {"fixed_cost": fixed, "cold": dataclasses.asdict(cold) if cold else None}
    if arguments.stages:
        seconds, work_done = measure.stages(job, work, arguments.repeats, _say)
        report.show_stages(console, seconds, work_done["multiply_adds"])
        facts["stages"] = seconds
    return any(line.problem for line in lines)


def _scale(
    arguments: argparse.Namespace, job: Job, shape: inputs.Shape, work: Path, console: Console, facts: dict[str, Any]
) -> bool:
    """The pipeline alone on larger versions of the data."""
    sizes = [(1, Path(job.data))]
    for times in arguments.times[1:]:
        path = work / f"x{times}.parquet"
        _say(f"data x{times}")
        if arguments.data:
            inputs.copy_users(job.data, times, job.user_column, job.item_column, path)
        else:
            synthetic.write(path, arguments.synthetic * times, arguments.items, arguments.seed)
        sizes.append((times, path))
    points = measure.grow(job, sizes, arguments.cap, work, arguments.repeats, _say)
    fixed = measure.fixed_cost(job, work, arguments.repeats, _say)
    fixed_s = statistics.median(run["whole_s"] for run in fixed)
    report.show_growth(console, points, arguments.cap, fixed_s)
    if arguments.plot:
        report.plot(points, arguments.cap, fixed_s, arguments.plot)
        console.print(f"plot: {arguments.plot}")
    facts |= {"growth": [dataclasses.asdict(point) for point in points], "fixed_cost": fixed}
    return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, source = parser.add_argument, parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--data", metavar="PATH", help="Parquet file or folder with a user and an item column, no weights"
    )
    source.add_argument(
        "--synthetic", type=int, metavar="ROWS", help="a seeded log-normal log; 6500000 is the large one"
    )
    add("--user_column", default="user", help="column with the user's id (default: user)")
    add("--item_column", default="item", help="column with the item's id (default: item)")
    add("--items", type=int, default=synthetic.ITEMS, help=f"catalogue of --synthetic (default: {synthetic.ITEMS})")
    add("--seed", type=int, default=1, help="of --synthetic (default: 1)")
    add("--top_k", type=int, default=100, help="neighbors kept per item (default: 100)")
    add(
        "--threads",
        type=int,
        default=os.cpu_count() or 1,
        help="threads of every contender that has them (default: all cores)",
    )
    names = ",".join(contender.name for contender in CONTENDERS)
    add("--contenders", type=_names, metavar="A,B", help=f"some of {names} (default: all that the size allows)")
    add("--repeats", type=int, default=5, help="timed runs (default: 5)")
    add("--slow_repeats", type=int, default=1, help="timed runs of the SQL joins, which do not warm up (default: 1)")
    add("--no_cold", action="store_true", help="leave out the cold run")
    add("--stages", action="store_true", help="also time the pipeline's functions one by one")
    add(
        "--scale",
        action="store_true",
        help="instead: the pipeline alone on 1, 3 and 10 times the rows, histories capped",
    )
    add("--times", type=_times, default=[1, 3, 10], help="the multiples of --scale, from 1 (default: 1,3,10)")
    add("--cap", type=int, default=500, help="--max_items_per_user of --scale (default: 500)")
    add("--plot", type=Path, metavar="FILE", help="PNG of --scale")
    add("--json", type=Path, metavar="FILE", help="everything measured, run by run")
    add(
        "--work", metavar="DIR", help="where data and outputs go while it runs (default: the system's temporary folder)"
    )
    add("--keep", action="store_true", help="leave them there")
    return parser


@contextlib.contextmanager
def _folder(arguments: argparse.Namespace) -> Iterator[str]:
    """Where the runs write; gone afterwards unless kept (Python 3.11's TemporaryDirectory always deletes)."""
    folder = tempfile.mkdtemp(prefix="recbeam-bench-", dir=arguments.work)
    try:
        yield folder
    finally:
        if arguments.keep:
            _say(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _names(text: str) -> list[str]:
    names, known = text.split(","), [contender.name for contender in CONTENDERS]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no contender; choose from {', '.join(known)}")
    return names


def _times(text: str) -> list[int]:
    times = [int(part) for part in text.split(",")]
    if times[0] != 1 or times != sorted(set(times)):
        raise argparse.ArgumentTypeError("multiples start with 1 and grow")
    return times


def _say(what: str) -> None:
    print(f"… {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
