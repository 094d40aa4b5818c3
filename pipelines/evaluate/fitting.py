"""Fit one kind of baseline on the stored dataset, on one worker, and store its rankers."""

from __future__ import annotations

from pipelines.evaluate import baselines, workspace
from pipelines.evaluate.dataset import Dataset
from pipelines.evaluate.rankers import Ranker

__all__ = ["fit", "load_baseline"]


def fit(kind: str, folder: str, ease_lambda: float, tune: bool) -> dict[str, str]:
    """Fit one kind of baseline and store its rankers in the workspace.

    Args:
        kind: `neighbors` (fits cooccurrence and cosine), `rp3beta` or `ease`.
        folder: Folder of the workspace.
        ease_lambda: Regularization of EASE.
        tune: Choose the parameters on users held out of the train rows.

    Returns:
        A sentence about the parameters by name of the ranker, as facts.
    """
    dataset: Dataset = workspace.get(folder, "dataset")
    tuned = ", tuned on train" if tune else ""
    if kind == "ease":
        strength = baselines.tuned_lambda(dataset) if tune else ease_lambda
        note = f"lambda {strength:g}{tuned}"
        fitted: dict[str, Ranker] = {"ease": baselines.ease(dataset, strength)}
    elif kind == "rp3beta":
        walk = baselines.tuned_walk(dataset) if tune else baselines.Walk()
        note = f"alpha {walk.alpha:g}, beta {walk.beta:g}{tuned}, {baselines.NEIGHBORS} neighbors an item"
        fitted = {"rp3beta": baselines.rp3beta(dataset, walk)}
    else:
        note = f"{baselines.NEIGHBORS} neighbors an item"
        fitted = baselines.neighbor_baselines(dataset)
    for name, ranker in fitted.items():
        workspace.put(ranker, folder, _stored(name))
    return dict.fromkeys(fitted, note)


def load_baseline(name: str, folder: str, dataset: Dataset) -> Ranker:
    """Load a baseline that `fit` stored. Popularity is not stored but computed from the dataset."""
    if name == "popularity":
        return baselines.popularity(dataset)
    ranker: Ranker = workspace.get(folder, _stored(name))
    return ranker


def _stored(name: str) -> str:
    return f"baseline-{name}"
