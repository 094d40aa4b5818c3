"""Render a summary on a terminal. Nothing is cut: columns that do not fit go into further tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.segment import SegmentLines
from rich.table import Table
from rich.text import Text

from pipelines.reward_stream.inspect.summary import Arm, Exposure, Summary

__all__ = ["fit", "render"]

_KEY = "arm (generation)"
_COLUMNS = ("n", "share", "mean reward", "95% interval", "SNIPS", "ESS", "pending", "fallbacks")

# Names longer than this go on in the next line rather than push columns to another table.
_NAME_WIDTH = 24

# Below so many decisions or users "ok" would say more than is known.
_FEW = 1_000


def render(summaries: Sequence[Summary], console: Console) -> RenderableType:
    """Render all summaries, one below the other, to fit the console's width."""
    return Group(*(part for summary in summaries for part in _parts(summary, console)))


def fit(picture: RenderableType, console: Console, more: str) -> RenderableType:
    """Cut a picture to the console's height. If anything was cut, `more` is the last line."""
    lines = console.render_lines(picture, pad=False)
    while lines and not "".join(segment.text for segment in lines[-1]).strip():
        lines.pop()
    if len(lines) <= console.height:
        return SegmentLines(lines, new_lines=True)
    return Group(SegmentLines(lines[: console.height - 1], new_lines=True), Text(more))


def _parts(summary: Summary, console: Console) -> Iterator[RenderableType]:
    epoch = "" if summary.policy_epoch is None else f", epoch {summary.policy_epoch}"
    yield Text.assemble((summary.bandit_id, "bold"), f"{epoch}, version {summary.version}", "  final" * summary.final)
    for segment in dict.fromkeys(arm.segment for arm in summary.arms):
        arms = [arm for arm in summary.arms if arm.segment == segment]
        title = None if segment == "*" else f"segment {segment}"
        for columns in _groups(arms, console.width):
            yield _table(arms, columns, title if columns[0] == _COLUMNS[0] else None)
    for line in _lines(summary):
        yield Padding(Text(line), (0, 0, 0, 2))
    yield Text()


def _groups(arms: Sequence[Arm], width: int) -> list[list[str]]:
    """Divide the columns into tables: as many as fit beside the names, at least one per table."""
    longest = max(len(_name(arm)) for arm in arms)
    free = width - max(len(_KEY), min(longest, _NAME_WIDTH)) - 4  # padding and edges
    cells = _rows(arms)
    groups: list[list[str]] = []
    left = 0
    for column in _COLUMNS:
        needed = max(len(column), *(len(each[column]) for each in cells)) + 3
        if not groups or needed > left:
            groups.append([])
            left = free
        groups[-1].append(column)
        left -= needed
    return groups


def _table(arms: Sequence[Arm], columns: Sequence[str], title: str | None) -> Table:
    table = Table(title=title and Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=True)
    table.add_column(_KEY, overflow="fold")  # the one column that may take more lines than one
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for arm, cells in zip(arms, _rows(arms), strict=True):
        table.add_row(Text(_name(arm)), *(cells[column] for column in columns))
    return table


def _name(arm: Arm) -> str:
    return f"{arm.arm_id} ({arm.generation})"


def _rows(arms: Sequence[Arm]) -> list[dict[str, str]]:
    """Return the cells of a segment's arms. All numbers of a column have the same number of decimals."""
    found = [arm.estimate for arm in arms]
    mean, snips = _places(each.mean for each in found), _places(each.snips for each in found)
    bound = _places(value for each in found for value in (each.low, each.high))
    return [_cells(arm, mean, bound, snips) for arm in arms]


def _cells(arm: Arm, mean: int, bound: int, snips: int) -> dict[str, str]:
    found = arm.estimate
    known = found.low is not None and found.high is not None
    return {
        "n": f"{arm.n:,}",
        "share": "-" if arm.share is None else f"{arm.share:.1%}",
        "mean reward": _number(found.mean, mean),
        "95% interval": f"{_number(found.low, bound)} to {_number(found.high, bound)}" if known else "-",
        "SNIPS": _number(found.snips, snips),
        "ESS": "-" if found.ess is None else f"{found.ess:,.0f}",
        "pending": f"{arm.pending:,}",
        "fallbacks": f"{arm.fallbacks:,}",
    }


def _lines(summary: Summary) -> Iterator[str]:
    if summary.arms:
        kinds = {arm.estimate.kind for arm in summary.arms if arm.n}
        if kinds:
            names = {"wilson": "Wilson's (every reward is 0 or 1)", "normal": "normal (rewards other than 0 and 1)"}
            yield "intervals: " + "; ".join(names[kind] for kind in sorted(kinds))
    for entry in summary.rolled_back:
        yield f"rolled back: {entry['arm']} ({entry['generation']}) at {entry['at']}, {entry['reason']}"
    if summary.exposure is not None:
        yield _exposure_line(summary.exposure)
    if summary.watermark is None or summary.event_time_lag_s is None:
        yield "no event read yet"
    else:
        yield f"watermark {summary.watermark}, {_span(summary.event_time_lag_s)} behind when published"
    yield f"published {_span(summary.age_s)} ago" + (", final: the run has ended" if summary.final else "")
    if summary.source_age_s:
        ages = ", ".join(f"{source} {_span(age_s)} ago" for source, age_s in summary.source_age_s.items())
        yield f"last record: {ages}" + "".join(f"; {source.upper()} ARE SILENT" for source in summary.silent)
    if summary.counters:
        yield "records: " + ", ".join(f"{name} {count:,}" for name, count in summary.counters.items())
    if summary.segments_left:
        yield f"segments not shown: {summary.segments_left:,} (--all_segments or --segment=NAME)"


def _exposure_line(exposure: Exposure) -> str:
    if exposure.e_value is None:
        return f"exposure: {exposure.missing}"
    by = "" if exposure.unit == "decisions" else "by user, "
    if exposure.verdict == "ok":
        few = exposure.tested < _FEW
        said = f"no mismatch seen in {exposure.tested:,} {_units(exposure)}" if few else "ok"
        return f"exposure: {said} ({by}e = {exposure.e_value:.2g}, a mismatch from 1,000 on)"
    return (
        f"exposure: MISMATCH ({by}e = {exposure.e_value:.2g}): {exposure.arm} gets more than its logged propensities "
        "say; do not compare arms before the cause is known"
    )


def _units(exposure: Exposure) -> str:
    return exposure.unit if exposure.tested != 1 else exposure.unit.removesuffix("s")


def _places(values: Iterable[float | None]) -> int:
    """Return the decimals of a column. Its smallest number gets at least three significant digits."""
    sizes = [abs(value) for value in values if value is not None and value != 0]
    smallest = min(sizes, default=1.0)
    for places, least in ((0, 1_000.0), (4, 0.01), (5, 0.001), (6, 0.0001)):
        if smallest >= least:
            return places
    return 7


def _number(value: float | None, places: int) -> str:
    """Format a number. Use an exponent only if all decimals would be 0."""
    if value is None:
        return "-"
    return f"{value:,.{places}f}" if value == 0 or round(value, places) else f"{value:.2e}"


def _span(seconds: float) -> str:
    """Format a length of time in at most two units."""
    if abs(seconds) < 100:
        return f"{seconds:.1f} s"
    for unit, size, below, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if abs(seconds) >= 2 * size or unit == "min":
            whole, rest = divmod(round(abs(seconds)), size)
            return f"{'-' * (seconds < 0)}{whole} {unit} {rest // part} {below}"
    raise AssertionError("minutes take what is left")
