"""Draw the charts of the report as SVG text. Equal numbers give equal text."""

from __future__ import annotations

import datetime

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from pipelines.off_policy.summary import Evaluation
from pipelines.off_policy.terminal import LABELS
from pipelines.off_policy.verdict import MOST_UNSUPPORTED
from transforms.reports.charts import FAINT, INK, chart, svg

__all__ = ["arms", "ess_over_time", "estimates", "support_over_time", "weights"]

_POLICY, _LOG, _BAD = "#1f6feb", "#8a94a1", "#c0392b"
_MOST_ARMS = 15
_MOST_LABELS = 5
_DAY_S = 86_400


def estimates(result: Evaluation) -> Markup:
    """Draw every estimate with its bootstrap interval, and the Bernstein interval as a thin line behind it."""
    shown = [result.found.logged, *result.found.estimates][::-1]
    names = [LABELS.get(each.name, "the log") for each in shown]
    ends = [end for each in shown for end in (each.interval[0], each.interval[1], each.value)]
    room = 0.15 * (max(ends) - min(ends) or 1.0)
    with chart(0.9 + 0.42 * len(shown)) as (figure, axes):
        axes.axvline(result.found.logged.value, color=_LOG, linewidth=1, linestyle="--")
        for place, each in enumerate(shown):
            color = _LOG if each.name == "logged" else _POLICY
            if each.bernstein is not None:
                axes.plot(each.bernstein, [place, place], color=color, linewidth=1, alpha=0.45)
            axes.plot(each.interval, [place, place], color=color, linewidth=4, solid_capstyle="butt", alpha=0.55)
            axes.plot([each.value], [place], "o", color=color, markersize=7)
            axes.annotate(f"{each.value:.4f}", (each.value, place), (0, 8), textcoords="offset points", ha="center")
        axes.set_yticks(range(len(shown)), names)
        axes.set_xlim(min(ends) - room, max(ends) + room)
        axes.set_ylim(-0.6, len(shown) - 0.3)
        axes.set_title("reward per decision")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=FAINT)
        return svg(figure, "Estimates of the policy with 95% intervals, beside the mean of the log")


def weights(result: Evaluation) -> Markup:
    """Draw the share of the decisions, and of the sum of the weights, by weight."""
    bins = result.weights
    places = range(len(bins))
    labels = ["more" if each.up_to is None else f"{each.up_to:.3g}" for each in bins]
    with chart(3.2) as (figure, axes):
        decisions = [each.decisions / result.decisions for each in bins]
        axes.bar([place - 0.2 for place in places], decisions, 0.4, color=_LOG, label="decisions")
        axes.bar(
            [place + 0.2 for place in places], [each.weight_share for each in bins], 0.4, color=_POLICY, label="weight"
        )
        axes.set_xticks(places, labels, rotation=60 if len(bins) > 8 else 0)
        axes.set_xlabel("weight up to")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_title("distribution of the weights")
        axes.grid(axis="y", color=FAINT)
        axes.legend(frameon=False)
        return svg(figure, "Share of the decisions and of the weight by weight")


def ess_over_time(result: Evaluation) -> Markup:
    """Draw the decisions of each period, and the effective sample size."""
    with chart(2.8) as (figure, axes):
        times = _times(axes, result)
        axes.plot(times, [each.decisions for each in result.periods], color=_LOG, marker=".", label="decisions")
        axes.plot(times, [each.ess for each in result.periods], color=_POLICY, marker=".", label="effective")
        axes.set_ylim(bottom=0)
        axes.set_title("effective sample size over time")
        axes.legend(frameon=False)
        return svg(figure, "Decisions and effective sample size by period")


def support_over_time(result: Evaluation) -> Markup:
    """Draw the share of the policy's mass without support by period, and the largest share that is accepted."""
    shares = [each.unsupported_share for each in result.periods]
    with chart(2.8) as (figure, axes):
        axes.plot(_times(axes, result), shares, color=_BAD, marker=".")
        axes.axhline(MOST_UNSUPPORTED, color=INK, linewidth=1, linestyle="--")
        axes.set_ylim(0, max(1.15 * max(shares), 2 * MOST_UNSUPPORTED))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_title("mass without support over time")
        return svg(figure, "Share of the policy's mass on arms that the log could not draw, by period")


def arms(result: Evaluation) -> Markup:
    """Draw each arm's share of the log's decisions, and of the policy's mass."""
    shown = list(reversed(result.arms[:_MOST_ARMS]))
    places = range(len(shown))
    with chart(1.1 + 0.4 * len(shown)) as (figure, axes):
        axes.barh([place + 0.2 for place in places], [arm.logged_share for arm in shown], 0.4, color=_LOG, label="log")
        axes.barh(
            [place - 0.2 for place in places], [arm.target_share for arm in shown], 0.4, color=_POLICY, label="policy"
        )
        axes.barh(
            [place - 0.2 for place in places], [arm.unsupported_share for arm in shown], 0.4, color=_BAD,
            label="without support",
        )  # fmt: skip
        axes.set_yticks(places, [_short(arm.arm_id) for arm in shown])
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.tick_params(axis="y", length=0)
        axes.set_title("arms")
        axes.grid(axis="x", color=FAINT)
        figure.legend(frameon=False, loc="outside lower center", ncols=3)
        return svg(figure, "Share of each arm in the log and under the policy")


def _times(axes: Axes, result: Evaluation) -> list[float]:
    """Return the starts of the periods, and label some of them on the axis."""
    starts = [each.start_us / 1e6 for each in result.periods]
    labelled = starts[:: -(-len(starts) // _MOST_LABELS)]
    form = "%H:%M" if starts[-1] - starts[0] < _DAY_S else "%d %b"
    texts = [datetime.datetime.fromtimestamp(start, datetime.UTC).strftime(form) for start in labelled]
    axes.set_xticks(labelled, texts)
    axes.grid(axis="y", color=FAINT)
    return starts


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"
