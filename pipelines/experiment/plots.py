"""Draw the charts of the experiment's page. `transforms.reports.charts` has their style."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.ticker import PercentFormatter

from pipelines.experiment.hours import DAY_US
from pipelines.experiment.result import Comparison, Experiment
from pipelines.experiment.sentence import name_of
from transforms.reports.charts import BRIGHT, FAINT, INK, chart, svg

__all__ = ["by_day", "colors", "lift_by_day", "lifts", "traffic"]

_BASE = "#8a94a1"
_Z95 = 1.959963984540054


def colors(experiment: Experiment) -> dict[str, str]:
    """Return a color per group: gray for the base."""
    found = {experiment.base.name: _BASE}
    for place, each in enumerate(experiment.comparisons):
        found[each.group.name] = BRIGHT[place % len(BRIGHT)]
    return found


def lifts(experiment: Experiment) -> Markup | None:
    """Draw the lift of every group with its interval, None without any."""
    known = [each for each in experiment.comparisons if each.lift is not None]
    if not known:
        return None
    relative = all(each.lift is not None and each.lift.relative_low is not None for each in known)
    palette = colors(experiment)
    with chart(0.9 + 0.45 * len(known)) as (figure, axes):
        for place, each in enumerate(reversed(known)):
            middle, low, high = _bounds(each, relative=relative)
            color = palette[each.group.name]
            axes.errorbar(middle, place, xerr=[[middle - low], [high - middle]], fmt="o", color=color, capsize=4)
            text = f"{middle:+.1%}" if relative else f"{middle:+.4g}"
            axes.annotate(text, (middle, place), (0, 7), textcoords="offset points", ha="center")
        axes.axvline(0, color=INK, linewidth=1)
        axes.set_yticks(range(len(known)), [_name(experiment, each.group.name) for each in reversed(known)])
        axes.set_ylim(-0.6, len(known) - 0.2)
        if relative:
            axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_title(f"lift over {_name(experiment, experiment.base.name)}")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=FAINT)
        return svg(figure, "lift of every arm with its interval")


def lift_by_day(experiment: Experiment) -> Markup | None:
    """Draw the lift of every arm by day, with intervals that hold at a single look. None without two days."""
    shown = [each for each in experiment.arms if len(each.trend.days) > 1]
    if not shown:
        return None
    palette = colors(experiment)
    days = sorted({day.start_us for each in shown for day in each.trend.days})
    with chart(3.4) as (figure, axes):
        _shade_weekends(axes, days)
        for number, each in enumerate(shown):
            shift = (number - (len(shown) - 1) / 2) * 0.12
            axes.errorbar(
                [day.start_us / DAY_US + shift for day in each.trend.days],
                [day.difference for day in each.trend.days],
                yerr=[_Z95 * day.error for day in each.trend.days],
                color=palette[each.group.name],
                marker="o",
                markersize=4,
                linewidth=1.8,
                elinewidth=1,
                capsize=2,
                label=_name(experiment, each.group.name),
            )
        axes.axhline(0, color=INK, linewidth=1)
        axes.set_title("lift by day, in reward per decision")
        _date_axis(axes, days)
        figure.legend(frameon=False, loc="outside lower center", ncols=3)
        return svg(figure, "lift by day")


def by_day(experiment: Experiment) -> Markup | None:
    """Draw the mean reward of every group by day, None without two days."""
    series = {name: [(day, mean) for day, _, mean in rows] for name, rows in experiment.by_day.items()}
    return _lines(experiment, series, "mean reward by day")


def traffic(experiment: Experiment) -> Markup | None:
    """Draw the decisions of every group by day, None without two days."""
    series = {name: [(day, n) for day, n, _ in rows] for name, rows in experiment.by_day.items()}
    return _lines(experiment, series, "decisions by day")


def _lines(experiment: Experiment, series: Mapping[str, Sequence[tuple[int, float]]], title: str) -> Markup | None:
    days = sorted({day for rows in series.values() for day, _ in rows})
    if len(days) < 2:
        return None
    palette = colors(experiment)
    with chart(3.2) as (figure, axes):
        _shade_weekends(axes, days)
        for name, rows in series.items():
            axes.plot(
                [day / DAY_US for day, _ in rows],
                [value for _, value in rows],
                color=palette[name],
                marker="o",
                markersize=4,
                linewidth=1.8,
                label=_name(experiment, name),
            )
        axes.set_ylim(bottom=0)
        axes.set_title(title)
        _date_axis(axes, days)
        figure.legend(frameon=False, loc="outside lower center", ncols=3)
        return svg(figure, title)


def _bounds(comparison: Comparison, *, relative: bool) -> tuple[float, float, float]:
    lift = comparison.lift
    assert lift is not None
    if relative and lift.relative is not None and lift.relative_low is not None and lift.relative_high is not None:
        return lift.relative, lift.relative_low, lift.relative_high
    return lift.difference, lift.low, lift.high


def _name(experiment: Experiment, name: str) -> str:
    return name_of(name, experiment.base_arm)


def _shade_weekends(axes: Any, days: Sequence[int]) -> None:
    for day in days:
        if day // DAY_US % 7 in (2, 3):  # 1970-01-01 was a Thursday
            axes.axvspan(day / DAY_US - 0.5, day / DAY_US + 0.5, color=FAINT, linewidth=0)


def _date_axis(axes: Any, days: Sequence[int]) -> None:
    step = -(-len(days) // 6)
    chosen = days[::step]
    dates = [datetime.datetime.fromtimestamp(day / 1e6, datetime.UTC) for day in chosen]
    texts = [f"{date:%a} {date.day} {date:%b}" for date in dates]
    axes.set_xticks([day / DAY_US for day in chosen], texts, rotation=30, ha="right")
    axes.grid(axis="y", color=FAINT)
