"""Render report.html: one page without external files, for a person who decides whether to promote a policy."""

from __future__ import annotations

from pipelines.off_policy import plots
from pipelines.off_policy.summary import Evaluation
from pipelines.off_policy.terminal import LABELS, left_out
from pipelines.off_policy.verdict import MOST_UNSUPPORTED, PREFERRED
from transforms.reports.page import render_page

__all__ = ["render"]


def render(result: Evaluation) -> str:
    """Return the page."""
    return render_page(
        "pipelines.off_policy",
        e=result,
        found=result.found,
        main=next(each for each in result.found.estimates if each.name == PREFERRED),
        labels=LABELS,
        left_out=left_out(result),
        most_unsupported=MOST_UNSUPPORTED,
        estimates=plots.estimates(result),
        weights=plots.weights(result),
        over_time=[plots.ess_over_time(result), plots.support_over_time(result)],
        arms=plots.arms(result),
    )
