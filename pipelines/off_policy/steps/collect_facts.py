"""Collect facts about the whole log: when each arm could be drawn, and the cells of the reward model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection

from pipelines.off_policy.log_facts import LogFacts, facts_of

__all__ = ["CollectFacts", "MergeFactsFn"]


@dataclasses.dataclass
class CollectFacts(beam.PTransform[PCollection[tuple[int, pa.RecordBatch]], PCollection[LogFacts]]):
    """Turn blocks of selected decisions into one LogFacts.

    Args:
        generations: The generation of each arm that the target policy would show.
    """

    generations: Mapping[str, int]

    def expand(self, blocks: PCollection[tuple[int, pa.RecordBatch]]) -> PCollection[LogFacts]:
        """Collect the facts of every block and merge them."""
        facts = blocks | "FactsOfBlock" >> beam.Map(_facts_of, dict(self.generations))
        merged: PCollection[LogFacts] = facts | "Merge" >> beam.CombineGlobally(MergeFactsFn())  # type: ignore[no-untyped-call]
        return merged


class MergeFactsFn(beam.CombineFn):
    """Merge LogFacts."""

    def create_accumulator(self) -> LogFacts:
        """Return facts about no decisions."""
        return LogFacts()

    def add_input(self, merged: LogFacts, facts: LogFacts) -> LogFacts:
        """Add the facts of a block."""
        merged.merge(facts)
        return merged

    def merge_accumulators(self, accumulators: Iterable[LogFacts]) -> LogFacts:
        """Merge facts. The first one is changed."""
        first, *others = accumulators
        for other in others:
            first.merge(other)
        return first

    def extract_output(self, merged: LogFacts) -> LogFacts:
        """Return the merged facts."""
        return merged


def _facts_of(numbered: tuple[int, pa.RecordBatch], generations: Mapping[str, int]) -> LogFacts:
    return facts_of(numbered[1], generations)
