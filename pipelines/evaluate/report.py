"""Render the metrics as one HTML file without external files, so that mail and code review can show it.

The template lays out the page and `plots` draws. This module computes no numbers.
"""

from __future__ import annotations

from pipelines.evaluate import plots
from pipelines.evaluate.summary import BEYOND, BUCKET_USERS, Evaluation
from pipelines.evaluate.terminal import ranked
from transforms.ranking.metrics import DENOMINATORS
from transforms.reports.page import render_page

__all__ = ["render"]


def render(evaluation: Evaluation) -> str:
    """Return the page."""
    models = ranked(evaluation)
    colors = plots.colors(models)
    low, high = evaluation.ks[0], evaluation.ks[-1]
    main = f"ndcg@{high}"
    coverage = [model.coverage[high] for model in models]
    popularity = [model.popularity_percentile[high] for model in models]
    return render_page(
        "pipelines.evaluate",
        e=evaluation,
        counts=evaluation.counts,
        models=models,
        colors=colors,
        low=low,
        high=high,
        main=main,
        fewest=BUCKET_USERS,
        best=next((model for model in models if model.kind != "baseline"), None),
        reference=next(model for model in models if model.name == evaluation.reference),
        denominators={**DENOMINATORS, **BEYOND},
        tables=["ndcg", "recall", "recall_plain", "map", "mrr", "hit_rate"],
        bars=[
            plots.bars(models, name) for name in dict.fromkeys([main, f"recall@{low}", f"recall@{high}", f"map@{high}"])
        ],
        activity=plots.activity(models, main),
        breadth=[
            plots.breadth(models, main, f"coverage@{high}", coverage),
            plots.breadth(models, main, f"popularity percentile@{high}", popularity),
        ],
    )
