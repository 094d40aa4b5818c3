"""Say how the models of the demo compare with the best model of an evaluation, baselines included."""

from __future__ import annotations

import json
import pathlib

__all__ = ["sentences"]


def sentences(metrics: pathlib.Path) -> list[str]:
    """Return one sentence for ndcg at the smallest k, and one at the largest.

    A model is as good as the best one if its mean is at most one standard error of the best one below.

    Args:
        metrics: metrics.json of `evaluate`.
    """
    evaluation = json.loads(metrics.read_text())
    kinds = {model: result["kind"] for model, result in evaluation["models"].items()}
    return [
        _sentence(
            f"ndcg@{k}",
            {model: result["metrics"][f"ndcg@{k}"] for model, result in evaluation["models"].items()},
            kinds,
        )
        for k in dict.fromkeys((evaluation["k"][0], evaluation["k"][-1]))
    ]


def _sentence(name: str, found: dict[str, dict[str, float]], kinds: dict[str, str]) -> str:
    best = max(found, key=lambda model: (found[model]["mean"], model))
    mean, error = found[best]["mean"], found[best]["standard_error"]
    others = []
    for model, value in found.items():
        if kinds[model] == "baseline" or model == best:
            continue
        below = mean - value["mean"]
        word = "within one standard error" if below <= error else f"{below / error:.1f} standard errors below"
        others.append(f"{model} is {word}")
    leads = f"Best by {name}: {best} ({mean:.4f} ±{error:.4f})."
    return f"{leads} {'; '.join(others)}." if others else leads
