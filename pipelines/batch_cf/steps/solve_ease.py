"""Solve EASE on one worker, from the pair sums of all blocks.

The worker needs 24 bytes for each pair and three float64 matrices of items x items.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import apache_beam as beam

from pipelines.batch_cf.ease import ease_neighbors, too_many_items
from pipelines.batch_cf.metrics import CfMetrics
from pipelines.batch_cf.plan import Marginals, Plan
from pipelines.batch_cf.ranking import Neighbors
from pipelines.batch_cf.scoring import Measure, scoring_of
from pipelines.batch_cf.sums import PairSums
from transforms import progress

__all__ = ["SolveEase", "SolveEaseFn", "Solved"]


class Solved(NamedTuple):
    """The outputs of SolveEase. A fault is one sentence for the user."""

    neighbors: beam.PCollection[Neighbors]
    faults: beam.PCollection[str]


@dataclasses.dataclass
class SolveEase(beam.PTransform[beam.PCollection[tuple[int, PairSums]], Solved]):
    """Gather (block, PairSums) of all blocks, and solve them to Neighbors."""

    plan: beam.PCollection[Plan]
    marginals: beam.PCollection[Marginals]
    measure: Measure

    def expand(self, pairs: beam.PCollection[tuple[int, PairSums]]) -> Solved:
        """Return the neighbors by block."""
        plan = beam.pvalue.AsSingleton(self.plan)
        solved = (
            pairs
            | "KeepIfFits" >> beam.FlatMap(_keep_if_fits, plan)
            | "GatherPairs" >> beam.GroupByKey()
            | "Solve" >> beam.ParDo(SolveEaseFn(self.measure), plan, beam.pvalue.AsSingleton(self.marginals))
        )  # fmt: skip
        faults = self.plan | "CheckItems" >> beam.FlatMap(_faults)
        return Solved(solved, faults)


class SolveEaseFn(beam.DoFn):
    """Apply `ease_neighbors` to the sums of all blocks."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._metrics = CfMetrics()

    def process(self, element: tuple[int, Iterable[PairSums]], plan: Plan, marginals: Marginals) -> Iterator[Neighbors]:
        """Yield the neighbors of each block."""
        progress.expect("items ranked", len(plan.items))
        for neighbors in ease_neighbors(element[1], scoring_of(plan, marginals, self._measure)):
            self._metrics.ranked(len(neighbors.lengths), neighbors.pairs)
            yield neighbors


def _keep_if_fits(element: tuple[int, PairSums], plan: Plan) -> Iterator[tuple[int, PairSums]]:
    if too_many_items(len(plan.items)) is None:
        yield 0, element[1]


def _faults(plan: Plan) -> Iterator[str]:
    if fault := too_many_items(len(plan.items)):
        yield fault
