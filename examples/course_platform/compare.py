"""Say in one sentence how the models of the demo compare with the best model of an evaluation, baselines included."""

from __future__ import annotations

import json
import pathlib

__all__ = ["sentence"]


def sentence(metrics: pathlib.Path) -> str:
    """Return the sentence.

    A model is as good as the best one if its mean is at most one standard error of the best one below.

    Args:
        metrics: metrics.json of `evaluate`.
    """
    evaluation = json.loads(metrics.read_text())
    name = f"ndcg@{evaluation['k'][-1]}"
    found = {model: result["metrics"][name] for model, result in evaluation["models"].items()}
    best = max(found, key=lambda model: (found[model]["mean"], model))
    error = found[best]["standard_error"]
    said = []
    for model, result in evaluation["models"].items():
        below = found[best]["mean"] - found[model]["mean"]
        if result["kind"] == "baseline" or model == best:
            continue
        word = "within one standard error" if below <= error else f"{below / error:.1f} standard errors below"
        said.append(f"{model} is {word}")
    leads = f"Best by {name}: {best} ({found[best]['mean']:.4f} ±{error:.4f})."
    return f"{leads} {'; '.join(said)}." if said else leads
