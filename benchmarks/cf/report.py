"""Print a measurement as tables. `batch_cf` writes the same figures as JSON."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.cf.contenders import PIPELINE
from benchmarks.cf.inputs import Shape
from benchmarks.cf.measure import Cold, Growth, Line
from transforms.runs.run_record import code_version

__all__ = ["machine", "plot", "show_answers", "show_contenders", "show_growth", "show_head", "show_stages"]

_PACKAGES = "numpy scipy numba pyarrow apache-beam tensorflow implicit sparse_dot_topn duckdb polars".split()


def machine(threads: int) -> dict[str, Any]:
    """Where and with what: the head of every report."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "machine": f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, {memory / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "threads": threads,
        "load": round(os.getloadavg()[0], 2),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "code": code_version(),
    }


def show_head(console: Console, facts: Mapping[str, Any], data: str, shape: Shape, top_k: int) -> None:
    """Machine, versions, data."""
    console.print(f"{facts['machine']}; {facts['system']}; {facts['threads']} threads; load at start {facts['load']}")
    console.print(", ".join(f"{name} {version}" for name, version in facts["versions"].items()))
    console.print(f"recbeam {facts['code']}")
    console.print(
        f"{data}: {shape.rows:,} rows, {shape.interactions:,} interactions, {shape.users:,} users, "
        f"{shape.items:,} items, longest history {shape.longest_history:,}, {shape.multiply_adds:,} multiply-adds; "
        f"cosine, top_k={top_k}\n"
    )


def show_contenders(console: Console, lines: Sequence[Line], fixed: Sequence[Mapping[str, Any]]) -> None:
    """The one table: seconds are medians but for the column min; ratios are to implicit."""
    table = Table(title="Files to written neighbors (seconds, medians; peak memory of the whole process)")
    table.add_column("contender")
    for name in "read|compute + write|ratio|whole|min|ratio|CPU|peak MiB|import|runs".split("|"):
        table.add_column(name, justify="right")
    peer = next((line for line in lines if line.contender.name == "implicit"), None)
    base = [None if peer is None else peer.median(*parts) for parts in (("compute", "write"), ("whole",))]
    for line in lines:
        if line.problem:
            table.add_row(line.contender.label, *[""] * 10)
            continue
        apart, whole = line.median("compute", "write"), line.median("whole")
        table.add_row(
            line.contender.label,
            _s(line.median("read")),
            _s(apart),
            _ratio(apart, base[0]),
            _s(whole),
            _s(min(line.seconds("whole"))),
            _ratio(whole, base[1]),
            _s(line.median("cpu")),
            f"{line.peak_bytes / 2**20:,.0f}",
            _s(line.import_s),
            str(len(line.runs)) + ("" if line.warm_up else ", no warm-up"),
        )
        if line.contender.name == PIPELINE and fixed and whole is not None:
            seconds = [run["whole_s"] for run in fixed]
            cost = statistics.median(seconds)
            table.add_row(
                "  its fixed cost (1,000 rows)", "", "", "", _s(cost), _s(min(seconds)), _ratio(cost, base[1]),
                _s(statistics.median([run["cpu_s"] for run in fixed])), "", "", str(len(fixed)),
            )  # fmt: skip
            table.add_row("  less its fixed cost", "", "", "", _s(whole - cost), "", _ratio(whole - cost, base[1]))
    console.print(table)
    for line in lines:
        if line.problem:
            console.print(f"no time counts for {line.contender.name}: {line.problem}", style="bold")
    if len([line for line in lines if not line.problem]) > 1:
        console.print("all other outputs were read back and are equal (as sets, with ties at the last rank)\n")


def show_answers(
    console: Console, lines: Sequence[Line], fixed: Sequence[Mapping[str, Any]], cold: Cold | None
) -> None:
    """The ratios that the project set itself, as numbers; whether they are good enough is not this file's business."""
    by_name = {line.contender.name: line for line in lines}
    ours, alone, peer = (by_name.get(name) for name in (PIPELINE, "recbeam_compute", "implicit"))
    whole = ours.median("whole") if ours else None
    cost = statistics.median([run["whole_s"] for run in fixed]) if fixed else None
    net = None if whole is None or cost is None else whole - cost
    rows: list[tuple[str, str]] = []
    if peer and alone:
        ratio = _ratio(alone.median("compute", "write"), peer.median("compute", "write"))
        rows.append(("compute + write, recbeam / implicit", ratio))
    if peer:
        peer_whole = peer.median("whole")
        rows.append(("files to written, fixed cost off, recbeam / implicit", _ratio(net, peer_whole)))
        rows.append(("files to written, fixed cost included, recbeam / implicit", _ratio(whole, peer_whole)))
        if ours and fixed and ours.median("cpu") is not None:
            cpu = (ours.median("cpu") or 0.0) - statistics.median([run["cpu_s"] for run in fixed])
            rows.append(("  the same in CPU time, fixed cost off", _ratio(cpu, peer.median("cpu"))))
    for name in ("duckdb", "duckdb_half", "polars"):
        if name in by_name:
            rows.append((f"files to written, {name} / recbeam", _ratio(by_name[name].median("whole"), whole)))
            rows.append((f"  fixed cost off, {name} / recbeam", _ratio(by_name[name].median("whole"), net)))
    if ours and not ours.problem and ours.warm_up:
        timings = ", ".join(
            f"{name} {statistics.median([run['timings'][name] for run in ours.runs]):.2f}"
            for name in ours.runs[0]["timings"]
        )
        rows.append(("the pipeline's own timings, s", timings))
        rows.append(("its first run in a process, s", _s(ours.warm_up["whole_s"])))
        rows.append(("item pairs scored, each direction", f"{ours.runs[0]['counters']['pairs_scored']:,}"))
    if cold:
        text = f"{cold.first_s:.2f} after {cold.start_s:.2f} of start and imports; the next {cold.second_s:.2f}"
        rows.append(("cold run, nothing compiled, s", text))
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def show_stages(console: Console, stages: Mapping[str, float], multiply_adds: int) -> None:
    """Seconds of each stage and, where it is work on pairs, nanoseconds a multiply-add."""
    table = Table(title="Where the time goes: the pipeline's functions one by one, without Beam (seconds, medians)")
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    table.add_column("ns a multiply-add", justify="right")
    for name, seconds in stages.items():
        per_pair = f"{seconds / multiply_adds * 1e9:.2f}" if "thread" in name else ""
        table.add_row(name, _s(seconds), per_pair)
    console.print(table)


def show_growth(console: Console, points: Sequence[Growth], cap: int, fixed_s: float) -> None:
    """Time less the fixed cost against work, each beside the first; the whole time would flatter the growth."""
    table = Table(title=f"Growth, histories capped at {cap} (seconds, medians; fixed cost {fixed_s:.2f})")
    for name in ("rows", "multiply-adds", "work", "whole", "less fixed cost", "time", "ns a multiply-add", "peak MiB"):
        table.add_column(name, justify="right")
    for point in points:
        net = point.median_s - fixed_s
        table.add_row(
            f"{point.rows:,}",
            f"{point.multiply_adds:,}",
            _ratio(point.multiply_adds, points[0].multiply_adds),
            _s(point.median_s),
            _s(net),
            _ratio(net, points[0].median_s - fixed_s),
            f"{net / point.multiply_adds * 1e9:.2f}",
            f"{point.peak_bytes / 2**20:,.0f}",
        )
    console.print(table)


def plot(points: Sequence[Growth], cap: int, fixed_s: float, target: Path) -> None:
    """Time less the fixed cost against the sum of squared capped history lengths, as PNG; proportion beside it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    work = [point.multiply_adds / 1e9 for point in points]
    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    net = [point.median_s - fixed_s for point in points]
    axes.plot(work, net, "o-", color="#1f5fa8", label=f"files to written neighbors, less {fixed_s:.1f} s fixed")
    straight = [net[0] * w / work[0] for w in work]
    axes.plot(work, straight, "--", color="#888888", label="in proportion to the first point")
    for w, seconds, point in zip(work, net, points, strict=True):
        label = f"{point.rows / 1e6:.3g} M rows"
        side, shift = ("right", -6) if point is points[-1] else ("left", 6)
        axes.annotate(label, (w, seconds), ha=side, textcoords="offset points", xytext=(shift, 6))
    axes.set(xlabel=f"sum of squared history lengths, capped at {cap} (billions)", ylabel="seconds (median)")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.12 * max(*net, *straight))
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(target, dpi=144)
    pyplot.close(figure)


def _s(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.2f}"


def _ratio(value: float | None, base: float | None) -> str:
    return "" if value is None or not base else f"{value / base:.2f} x"
