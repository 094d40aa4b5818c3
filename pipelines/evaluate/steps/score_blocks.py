"""Fit the baselines, then rank and score blocks of users with all models."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.utils.shared import Shared

from pipelines.evaluate import workspace
from pipelines.evaluate.fitting import fit
from pipelines.evaluate.models import ModelSource
from pipelines.evaluate.sums import Sums, merge
from pipelines.evaluate.user_blocks import Scorer, load_scorer

__all__ = ["FitBaselines", "ScoreBlocks", "ScoreBlocksFn"]


@dataclasses.dataclass
class FitBaselines(beam.PTransform[beam.PCollection[str], beam.PCollection[dict[str, str]]]):
    """Fit kinds of baselines on the stored dataset and store the rankers. The output is facts, see `fitting.fit`.

    Args:
        work: Folder of the workspace.
        ease_lambda: Regularization of EASE.
        tune: Choose the parameters on users held out of the train rows.
    """

    work: str
    ease_lambda: float
    tune: bool

    def expand(self, kinds: beam.PCollection[str]) -> beam.PCollection[dict[str, str]]:
        """Return the facts of each kind."""
        fitted: beam.PCollection[dict[str, str]] = kinds | "Fit" >> beam.Map(
            fit, self.work, self.ease_lambda, self.tune
        )
        return fitted


@dataclasses.dataclass
class ScoreBlocks(beam.PTransform[beam.PCollection[tuple[int, int]], beam.PCollection[str]]):
    """Store the sums of all models over blocks of users.

    Args:
        work: Folder of the workspace.
        names: Models and baselines, in the order of the sums.
        sources: The models that are not baselines.
        ks: Cut-offs of the metrics.
        fitted: Output of FitBaselines. Scoring waits for it.
    """

    work: str
    names: tuple[str, ...]
    sources: tuple[ModelSource, ...]
    ks: tuple[int, ...]
    fitted: beam.PCollection[dict[str, str]]

    def expand(self, blocks: beam.PCollection[tuple[int, int]]) -> beam.PCollection[str]:
        """Return the name of the stored sums."""
        scorer = ScoreBlocksFn(self.work, self.names, self.sources, self.ks)
        scored = blocks | "ScoreBlock" >> beam.ParDo(scorer, beam.pvalue.AsList(self.fitted))
        sums = scored | "SumBlocks" >> beam.CombineGlobally(merge).without_defaults()
        stored: beam.PCollection[str] = sums | "StoreSums" >> beam.Map(workspace.put, self.work, "sums")
        return stored


class ScoreBlocksFn(beam.DoFn):
    """Score a block of users with all models.

    Each worker process loads the models once, after the baselines are fitted.

    Args:
        work: Folder of the workspace.
        names: Models and baselines, in the order of the sums.
        sources: The models that are not baselines.
        ks: Cut-offs of the metrics.
    """

    def __init__(
        self, work: str, names: tuple[str, ...], sources: tuple[ModelSource, ...], ks: tuple[int, ...]
    ) -> None:
        self._work, self._names, self._sources, self._ks = work, names, sources, ks
        self._shared = Shared()

    def process(self, block: tuple[int, int], fitted: list[dict[str, str]]) -> Iterator[Sums]:
        """Yield the Sums of a block.

        Args:
            block: First user and one past the last.
            fitted: Not read. The side input makes this step wait for the baselines.
        """
        scorer = self._shared.acquire(self._load, tag=self._work)
        yield scorer.score(*block, self._ks)

    def _load(self) -> Scorer:
        return load_scorer(self._work, self._names, self._sources)
