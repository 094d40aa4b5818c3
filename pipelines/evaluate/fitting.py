"""Choose the kinds of baselines to fit, and fit one kind on the stored dataset, on one worker."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.evaluate import baselines, workspace
from pipelines.evaluate.dataset import Dataset
from pipelines.evaluate.gate import Gate
from pipelines.evaluate.rankers import Ranker
from transforms.errors import BadUsage

__all__ = ["fit", "kinds_to_fit", "load_baseline"]


def kinds_to_fit(items: int, ease_items: int, gates: Sequence[Gate]) -> tuple[list[str], list[str]]:
    """Return the kinds of baselines to fit, as `fit` takes them, and notes on those left out.

    Args:
        items: Number of items in train.
        ease_items: EASE is left out for more items than this.
        gates: The conditions for publishing.

    Raises:
        BadUsage: A gate names a baseline that is left out.
    """
    if items <= ease_items:
        return ["neighbors", "rp3beta", "ease"], []
    for gate in gates:
        if "ease" in (gate.candidate, gate.baseline):
            raise BadUsage(f"--gate={gate}: EASE is left out for {items} items; raise --ease_items={ease_items}")
    return ["neighbors", "rp3beta"], [
        f"EASE is left out, because {items} items are more than --ease_items={ease_items}"
    ]


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
