"""Render the metrics as one HTML file without external files, so that mail and code review can show it.

The template lays out the page and `plots` draws. This module computes no numbers.
"""

from __future__ import annotations

import importlib.resources

import jinja2

from pipelines.evaluate import plots
from pipelines.evaluate.summary import BEYOND, Evaluation
from pipelines.evaluate.terminal import ranked
from transforms.ranking.metrics import DENOMINATORS

__all__ = ["render"]


def render(evaluation: Evaluation) -> str:
    """Return the page."""
    source = importlib.resources.files("pipelines.evaluate").joinpath("page.html").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    models = ranked(evaluation)
    colors = plots.colors(models)
    low, high = evaluation.ks[0], evaluation.ks[-1]
    return environment.from_string(source).render(
        e=evaluation,
        counts=evaluation.counts,
        models=models,
        colors=colors,
        low=low,
        high=high,
        best=models[0],
        denominators={**DENOMINATORS, **BEYOND},
        tables=["ndcg", "recall", "recall_plain", "map", "mrr", "hit_rate"],
        bars=plots.bars(
            models, list(dict.fromkeys([f"ndcg@{high}", f"recall@{low}", f"recall@{high}", f"map@{high}"]))
        ),
        activity=plots.activity(models, f"ndcg@{high}"),
        coverage=plots.tradeoff(models, f"ndcg@{high}", high),
    )
