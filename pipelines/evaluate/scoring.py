"""Rank and score one block of users on one worker, which loads the models once."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import pyarrow as pa

from pipelines.evaluate import baselines, models, workspace
from pipelines.evaluate.dataset import Dataset
from pipelines.evaluate.models import ModelSource
from pipelines.evaluate.rankers import Ranker
from pipelines.evaluate.sums import Sums, block_sums

__all__ = ["BLOCK_USERS", "Arena", "Fitted", "fit", "load_arena", "score_block", "user_blocks"]

BLOCK_USERS = 1_000
"""Enough for the vectorised parts to carry the loops, few enough for a sparse score block of some 50 MB."""


@dataclasses.dataclass(frozen=True)
class Fitted:
    """The result of fitting one kind of baseline.

    Args:
        names: The rankers that are now in the workspace.
        note: A note for the user.
        seconds: Duration of the fit.
    """

    names: tuple[str, ...]
    note: str
    seconds: float


@dataclasses.dataclass(frozen=True, eq=False)
class Arena:
    """The dataset with all rankers, in the order of the sums."""

    dataset: Dataset
    names: tuple[str, ...]
    rankers: tuple[Ranker, ...]


def user_blocks(users: int) -> list[tuple[int, int]]:
    """Return the first user and one past the last of every block."""
    return [(start, min(start + BLOCK_USERS, users)) for start in range(0, users, BLOCK_USERS)]


def fit(kind: str, folder: str, ease_lambda: float, tune: bool) -> Fitted:
    """Fit `neighbors` (cooccurrence, cosine), `rp3beta` or `ease` on the stored dataset and store the rankers."""
    started = time.perf_counter()
    dataset: Dataset = workspace.get(folder, "dataset")
    note = ""
    if kind == "ease":
        if tune:
            ease_lambda = baselines.tuned_lambda(dataset)
        note = f"lambda {ease_lambda:g}" + (", tuned on train" if tune else "")
        fitted: dict[str, Ranker] = {"ease": baselines.ease(dataset, ease_lambda)}
    elif kind == "rp3beta":
        walk = baselines.tuned_walk(dataset) if tune else baselines.Walk()
        note = f"alpha {walk.alpha:g}, beta {walk.beta:g}" + (", tuned on train" if tune else "")
        note += f", {baselines.NEIGHBORS} neighbors an item"
        fitted = {"rp3beta": baselines.rp3beta(dataset, walk)}
    else:
        fitted = baselines.neighbor_baselines(dataset)
        note = f"{baselines.NEIGHBORS} neighbors an item"
    for name, ranker in fitted.items():
        workspace.put(ranker, folder, f"baseline-{name}")
    return Fitted(tuple(fitted), note, time.perf_counter() - started)


def load_arena(folder: str, names: Sequence[str], sources: Sequence[ModelSource]) -> Arena:
    """Load the dataset and all rankers: models from their folders, baselines from the workspace."""
    dataset: Dataset = workspace.get(folder, "dataset")
    located = {source.name: source for source in sources}
    rankers = tuple(_ranker(name, folder, dataset, located) for name in names)
    return Arena(dataset, tuple(names), rankers)


def score_block(arena: Arena, start: int, stop: int, ks: Sequence[int]) -> Sums:
    """Return the sums of users start..stop-1."""
    histories = arena.dataset.histories.part(start, stop)
    targets = arena.dataset.targets.part(start, stop)
    ranked, removed = zip(*(ranker.rank(histories, max(ks)) for ranker in arena.rankers), strict=True)
    items: pa.StringArray = arena.dataset.items
    return block_sums(ranked, removed, histories.lengths(), targets, len(items), ks)


def _ranker(name: str, folder: str, dataset: Dataset, located: dict[str, ModelSource]) -> Ranker:
    if name in located:
        return models.load(located[name], dataset.items)
    if name == "popularity":
        return baselines.popularity(dataset)
    ranker: Ranker = workspace.get(folder, f"baseline-{name}")
    return ranker
