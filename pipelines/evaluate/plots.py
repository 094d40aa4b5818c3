"""Draw the pictures of the report as SVG text. Equal numbers give equal text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter

from pipelines.evaluate.gate import Z95
from pipelines.evaluate.summary import ModelResult

__all__ = ["activity", "bars", "colors", "tradeoff"]

CANDIDATES = ("#1f6feb", "#d1495b", "#2a9d8f", "#8957e5", "#e08e0b", "#0b7285")
BASELINES = {
    "popularity": "#c3c9d1",
    "cooccurrence": "#a3abb6",
    "cosine": "#8a94a1",
    "rp3beta": "#6e7885",
    "ease": "#525c69",
}
INK, FAINT = "#1f2933", "#e4e7eb"
STYLE: Any = {
    "svg.hashsalt": "recbeam",  # ids in the file would be random otherwise
    "svg.fonttype": "none",  # text stays text: smaller, selectable, drawn in the page's font
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.edgecolor": "#9aa5b1",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def colors(models: Sequence[ModelResult]) -> dict[str, str]:
    """Return a color per model: gray for baselines, bright for candidates, in the order of their names."""
    candidates = sorted(model.name for model in models if model.kind != "baseline")
    found = {name: CANDIDATES[place % len(CANDIDATES)] for place, name in enumerate(candidates)}
    return {model.name: found.get(model.name) or BASELINES[model.name] for model in models}


def bars(models: Sequence[ModelResult], names: Sequence[str]) -> Markup:
    """Draw one panel per metric, with a bar and its 95% interval per model, best model first."""
    with mpl.rc_context(STYLE):
        height = 0.75 + 0.42 * len(models)
        figure = Figure(
            figsize=(11, height * ((len(names) + 1) // 2)), layout=ConstrainedLayoutEngine(hspace=0.1, wspace=0.06)
        )
        grid = figure.subplots((len(names) + 1) // 2, 2, squeeze=False).flatten()
        palette = colors(models)
        shown = list(reversed(models))
        for axes, name in zip(grid, names, strict=False):
            means = [model.metrics[name].mean for model in shown]
            errors = [Z95 * model.metrics[name].standard_error for model in shown]
            axes.barh(range(len(shown)), means, color=[palette[model.name] for model in shown], height=0.72)
            axes.errorbar(means, range(len(shown)), xerr=errors, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3)
            end = max((mean + error for mean, error in zip(means, errors, strict=True)), default=0.0) or 1.0
            for place, (mean, error) in enumerate(zip(means, errors, strict=True)):
                axes.text(mean + error + end * 0.02, place, f"{mean:.4f}", va="center", fontsize=10)
            axes.set_yticks(range(len(shown)), [model.name for model in shown])
            axes.set_xlim(0, end * 1.18)
            axes.set_title(name, loc="left", fontweight="bold", fontsize=12)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x", color=FAINT, zorder=0)
            axes.set_axisbelow(True)
        for axes in grid[len(names) :]:
            axes.set_visible(False)
        return _svg(figure, "Quality of every model with 95% intervals")


def activity(models: Sequence[ModelResult], name: str) -> Markup:
    """Draw the metric by history length, one line per model, with the users of each class under its label."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        axes = figure.subplots()
        palette = colors(models)
        places = [place for place, bucket in enumerate(models[0].buckets) if bucket.users]
        for number, model in enumerate(models):
            buckets = [model.buckets[place] for place in places]
            # Points stand side by side, so that the intervals of models with similar results do not overlap.
            x = [place + (number - (len(models) - 1) / 2) * 0.05 for place in range(len(places))]
            axes.errorbar(
                x,
                [bucket.metrics[name].mean for bucket in buckets],
                yerr=[Z95 * bucket.metrics[name].standard_error for bucket in buckets],
                color=palette[model.name],
                marker="o",
                markersize=5,
                linewidth=2.2 if model.kind != "baseline" else 1.5,
                elinewidth=1,
                capsize=2,
                label=model.name,
                zorder=3 if model.kind != "baseline" else 2,
            )
        labels = [f"{models[0].buckets[place].label}\n{models[0].buckets[place].users:,} users" for place in places]
        axes.set_xticks(range(len(places)), labels)
        axes.set_xlabel("items in the history")
        axes.set_ylabel(name)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=FAINT)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return _svg(figure, f"{name} by the length of the history")


def tradeoff(models: Sequence[ModelResult], name: str, k: int) -> Markup:
    """Draw catalogue coverage and popularity of each model's items against its quality."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 3.9), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        palette = colors(models)
        panels: list[tuple[Any, str, dict[str, float]]] = [
            (left, f"coverage@{k}: share of the catalogue shown", {m.name: m.coverage[k] for m in models}),
            (
                right,
                f"popularity percentile@{k} of what is shown",
                {m.name: m.popularity_percentile[k] for m in models},
            ),
        ]
        for axes, label, values in panels:
            for model in models:
                axes.errorbar(
                    values[model.name],
                    model.metrics[name].mean,
                    yerr=Z95 * model.metrics[name].standard_error,
                    fmt="o",
                    markersize=10 if model.kind == "baseline" else 7,  # a candidate on its baseline leaves a ring
                    color=palette[model.name],
                    capsize=2,
                    label=model.name,
                    zorder=2 if model.kind == "baseline" else 3,
                )
            axes.set_xlabel(label)
            axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            axes.grid(color=FAINT)
            axes.set_axisbelow(True)
        left.set_xlim(-0.03, 1.03)
        lowest = min(panels[1][2].values())
        right.set_xlim(min(0.5, lowest - 0.05), 1.01)
        right.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        left.set_ylabel(name)
        left.set_ylim(bottom=0)
        return _svg(figure, f"Coverage and popularity against {name}")


def _svg(figure: Figure, title: str) -> Markup:
    FigureCanvasSVG(figure)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    drawing = text.getvalue()
    return Markup(drawing[drawing.index("<svg") :])  # our own drawing: matplotlib escapes the labels
