"""Score one block of users with every model, on one worker, which loads the models once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pyarrow as pa

from pipelines.evaluate import models, workspace
from pipelines.evaluate.dataset import Dataset
from pipelines.evaluate.fitting import load_baseline
from pipelines.evaluate.models import ModelSource
from pipelines.evaluate.rankers import Ranker
from pipelines.evaluate.sums import Sums, block_sums

__all__ = ["BLOCK_USERS", "Scorer", "load_scorer", "user_blocks"]

BLOCK_USERS = 1_000
"""Enough for the vectorised parts to carry the loops, few enough for a sparse score block of some 50 MB."""


@dataclasses.dataclass(frozen=True, eq=False)
class Scorer:
    """The dataset with the rankers of all models and baselines, in the order of the sums."""

    dataset: Dataset
    rankers: tuple[Ranker, ...]

    def score(self, start: int, stop: int, ks: Sequence[int]) -> Sums:
        """Return the sums of users start..stop-1 with the metrics at the cut-offs ks."""
        histories = self.dataset.histories.part(start, stop)
        targets = self.dataset.targets.part(start, stop)
        ranked, removed = zip(*(ranker.rank(histories, max(ks)) for ranker in self.rankers), strict=True)
        items: pa.StringArray = self.dataset.items
        return block_sums(ranked, removed, histories.lengths(), targets, len(items), ks)


def user_blocks(users: int) -> list[tuple[int, int]]:
    """Return the first user and one past the last of every block."""
    return [(start, min(start + BLOCK_USERS, users)) for start in range(0, users, BLOCK_USERS)]


def load_scorer(folder: str, names: Sequence[str], sources: Sequence[ModelSource]) -> Scorer:
    """Load the dataset and all rankers.

    Args:
        folder: Folder of the workspace, which holds the dataset and the fitted baselines.
        names: Models and baselines, in the order of the sums.
        sources: The models that are not baselines.

    Returns:
        The scorer.
    """
    dataset: Dataset = workspace.get(folder, "dataset")
    located = {source.name: source for source in sources}
    rankers = [
        models.load(located[name], dataset.items) if name in located else load_baseline(name, folder, dataset)
        for name in names
    ]
    return Scorer(dataset, tuple(rankers))
