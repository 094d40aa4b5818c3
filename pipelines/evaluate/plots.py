"""Draw the charts of the report. `transforms.reports.charts` has their style."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.ticker import PercentFormatter

from pipelines.evaluate.gate import Z95
from pipelines.evaluate.summary import ModelResult
from transforms.reports.charts import BRIGHT, FAINT, INK, chart, svg

__all__ = ["activity", "bars", "breadth", "colors", "spread"]

BASELINES = {
    "popularity": "#c3c9d1",
    "cooccurrence": "#a3abb6",
    "cosine": "#8a94a1",
    "rp3beta": "#6e7885",
    "ease": "#525c69",
}


def colors(models: Sequence[ModelResult]) -> dict[str, str]:
    """Return a color per model: gray for baselines, bright for candidates, in the order of their names."""
    candidates = sorted(model.name for model in models if model.kind != "baseline")
    found = {name: BRIGHT[place % len(BRIGHT)] for place, name in enumerate(candidates)}
    return {model.name: found.get(model.name) or BASELINES[model.name] for model in models}


def bars(models: Sequence[ModelResult], name: str) -> Markup:
    """Draw a metric with a bar and its 95% interval per model, best model first."""
    shown = list(reversed(models))
    places = range(len(shown))
    means = [model.metrics[name].mean for model in shown]
    errors = [Z95 * model.metrics[name].standard_error for model in shown]
    end = max((mean + error for mean, error in zip(means, errors, strict=True)), default=0.0) or 1.0
    palette = colors(models)
    with chart(0.75 + 0.3 * len(models)) as (figure, axes):
        axes.barh(places, means, color=[palette[model.name] for model in shown], height=0.72)
        axes.errorbar(means, places, xerr=errors, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3)
        for place, mean, error in zip(places, means, errors, strict=True):
            axes.text(mean + error + end * 0.02, place, f"{mean:.4f}", va="center")
        axes.set_yticks(places, [model.name for model in shown])
        axes.set_xlim(0, end * 1.25)
        axes.set_title(name)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=FAINT)
        return svg(figure, f"{name} of every model with 95% intervals")


def activity(models: Sequence[ModelResult], name: str) -> Markup:
    """Draw a metric by history length, one line per model."""
    palette = colors(models)
    labels = [bucket.label for bucket in models[0].buckets]
    with chart(4.0) as (figure, axes):
        for number, model in enumerate(models):
            # Points stand side by side, so that the intervals of models with similar results do not overlap.
            shift = (number - (len(models) - 1) / 2) * 0.05
            axes.errorbar(
                [place + shift for place in range(len(labels))],
                [bucket.metrics[name].mean for bucket in model.buckets],
                yerr=[Z95 * bucket.metrics[name].standard_error for bucket in model.buckets],
                color=palette[model.name],
                marker="o",
                markersize=5,
                linewidth=2.2 if model.kind != "baseline" else 1.5,
                elinewidth=1,
                capsize=2,
                label=model.name,
                zorder=3 if model.kind != "baseline" else 2,
            )
        axes.set_xticks(range(len(labels)), labels, rotation=45 if len(labels) > 4 else 0)
        axes.set_xlabel("items in the history")
        axes.set_title(name)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=FAINT)
        figure.legend(frameon=False, loc="outside lower center", ncols=3)
        return svg(figure, f"{name} by the length of the history")


def breadth(models: Sequence[ModelResult], name: str, title: str, values: Sequence[float]) -> Markup:
    """Draw a share of each model, 0 to 1, against its quality, with the model's name beside its point.

    Args:
        models: The models.
        name: The metric of quality.
        title: What the share is.
        values: The share per model.

    Returns:
        The chart.
    """
    palette = colors(models)
    means = [model.metrics[name].mean for model in models]
    top = 1.1 * max(mean + Z95 * model.metrics[name].standard_error for mean, model in zip(means, models, strict=True))
    heights = spread([mean / (top or 1.0) for mean in means], gap=0.075)
    with chart(3.2) as (figure, axes):
        for model, mean, value, height in zip(models, means, values, heights, strict=True):
            axes.errorbar(
                value,
                mean,
                yerr=Z95 * model.metrics[name].standard_error,
                fmt="o",
                markersize=10 if model.kind == "baseline" else 7,  # a candidate on its baseline leaves a ring
                color=palette[model.name],
                capsize=2,
                zorder=2 if model.kind == "baseline" else 3,
            )
            line = {"arrowstyle": "-", "color": palette[model.name], "linewidth": 0.8, "relpos": (0, 0.5)}
            axes.annotate(
                model.name, (value, mean), (1.14, height), textcoords="axes fraction", va="center", arrowprops=line
            )
        lowest = min(values, default=0.0)
        axes.set_xlim(min(0.5, lowest - 0.05) if lowest > 0.3 else -0.03, 1.03)
        axes.set_ylim(0, top or 1.0)
        axes.set_title(title)
        axes.set_ylabel(name)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid(color=FAINT)
        return svg(figure, f"{title} against {name}")


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move heights apart, so that labels do not overlap.

    Args:
        heights: Where labels belong, 0 to 1.
        gap: Least distance of two labels. It is smaller if the labels do not fit otherwise.

    Returns:
        Heights in the same order, in [0, 1] and at least gap apart. Equal heights keep their order from the top.
    """
    gap = min(gap, 1 / max(1, len(heights) - 1))
    order = sorted(range(len(heights)), key=lambda place: -heights[place])
    moved = [0.0] * len(heights)
    ceiling = 1.0
    for place in order:
        moved[place] = min(heights[place], ceiling)
        ceiling = moved[place] - gap
    floor = 0.0
    for place in reversed(order):
        moved[place] = max(moved[place], floor)
        floor = moved[place] + gap
    return moved
