"""Print an experiment's result on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipelines.experiment.result import Comparison, Experiment
from pipelines.experiment.sentence import lift_text, name_of
from serving_client.contracts.times import format_time

__all__ = ["method_text", "print_experiment", "remarks"]

_NO_LIMIT = 10_000
"""Columns of a file or a pipe, which has no width that text would have to fit."""
_METHODS = {
    "propensity": "Lifts compare SNIPS estimates: decisions are weighted by 1 / propensity, so that an adaptive policy "
    "does not bias them.",
    "hour": "Lifts compare hour by hour, and only hours count in which both had traffic. A policy that changes within "
    "an hour biases them a little.",
}


def print_experiment(experiment: Experiment, sentence: str) -> None:
    """Print the sentence, the table and the remarks."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console.width = _NO_LIMIT
    parts = [Text(sentence, style="bold"), Text(), _table(experiment)]
    parts += [Padding(Text(remark), (0, 0, 0, 2)) for remark in remarks(experiment)]
    if console.is_terminal:
        console.print(*parts, sep="\n")
        return
    with console.capture() as captured:
        console.print(*parts, sep="\n")
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def method_text(experiment: Experiment) -> str:
    """Return how the lifts are computed."""
    return _METHODS[experiment.method]


def remarks(experiment: Experiment) -> Iterator[str]:
    """Yield what a reader should know beside the table, one sentence or two each."""
    yield method_text(experiment)
    yield (
        f"All {1 - experiment.alpha:.0%} intervals hold together and however often you look. A unit is "
        f"{'a user' if experiment.unit == 'users' else 'a decision'}."
    )
    yield _exposure(experiment)
    if experiment.held_back is not None:
        held = experiment.held_back
        wrong = ", which differs: find the cause before you compare" if held.is_wrong else ""
        yield f"The holdback has {held.share:.2%} of the users, and the bandits file says {held.expected:.2%}{wrong}."
    for each in experiment.comparisons:
        name = name_of(each.group.name, experiment.base_arm)
        if each.problem:
            yield f"No lift of {name} yet: {each.problem}."
        if each.trend.fades:
            yield f"The lift of {name} fades: it changes by {each.trend.slope:+.3g} a day (z {each.trend.slope_z:.1f})."
        if each.trend.weekends_differ:
            yield (
                f"The lift of {name} on weekends is that on weekdays {each.trend.weekend:+.3g} "
                f"(z {each.trend.weekend_z:.1f})."
            )
    yield from experiment.notes
    watermark = "no watermark" if experiment.watermark_us is None else format_time(experiment.watermark_us)
    yield f"Version {experiment.snapshot_version} of policy epoch {experiment.policy_epoch}, up to {watermark}."


def _table(experiment: Experiment) -> Table:
    table = Table(title=f"{experiment.bandit_id}, {experiment.hours / 24:.1f} days", title_justify="left")
    table.add_column("arm")
    for column in ("decisions", "mean", "on all traffic", "lift (95% interval)", "verdict", "full weeks"):
        table.add_column(column, justify="right")
    base = experiment.base
    mean = "-" if not base.n else f"{base.sum_r / base.n:.4g}"
    name = name_of(base.name, experiment.base_arm)
    table.add_row(name, f"{base.n:,.0f}", mean, _number(experiment.base_mean), "-", "base", "-")
    for each in experiment.comparisons:
        lift = "-" if each.lift is None else lift_text(each.lift)
        mean = "-" if not each.group.n else f"{each.group.sum_r / each.group.n:.4g}"
        on_all = _number(each.mean) if experiment.method == "propensity" else "-"
        name = name_of(each.group.name, experiment.base_arm)
        table.add_row(name, f"{each.group.n:,.0f}", mean, on_all, lift, each.verdict, _weeks(each))
    return table


def _weeks(comparison: Comparison) -> str:
    if comparison.runtime is None or comparison.runtime.target is None:
        return "-"
    return "over 104" if comparison.runtime.weeks is None else str(comparison.runtime.weeks)


def _exposure(experiment: Experiment) -> str:
    exposure = experiment.exposure
    by = f"by {exposure.unit.removesuffix('s')}"
    if exposure.e_value is None:
        return "Sample ratio: no verdict."
    if exposure.verdict == "ok":
        return f"Sample ratio: ok ({by}, e = {exposure.e_value:.2g}, a mismatch from 1,000 on)."
    return f"Sample ratio: MISMATCH ({by}, e = {exposure.e_value:.2g}): {exposure.arm} gets too much traffic."


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
