"""Render an experiment's result as one HTML file without external files. This module computes no numbers."""

from __future__ import annotations

from pipelines.experiment import plots
from pipelines.experiment.result import Experiment
from pipelines.experiment.sentence import lift_text, name_of, sentence
from pipelines.experiment.terminal import method_text, remarks
from transforms.reports.page import render_page

__all__ = ["render"]


def render(experiment: Experiment) -> str:
    """Return the page."""
    charts = (plots.lift_by_day, plots.by_day, plots.traffic)
    return render_page(
        "pipelines.experiment",
        e=experiment,
        sentence=sentence(experiment),
        names={each: name_of(each, experiment.base_arm) for each in experiment.by_day},
        colors=plots.colors(experiment),
        lift_text=lift_text,
        method=method_text(experiment),
        remarks=list(remarks(experiment))[1:],
        lifts=plots.lifts(experiment),
        charts=[drawn for draw in charts if (drawn := draw(experiment)) is not None],
    )
