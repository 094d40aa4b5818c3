"""Weigh the selected decisions, and add up what the estimators need."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsSingleton, PCollection

from pipelines.off_policy.log_facts import LogFacts
from pipelines.off_policy.reward_model import RewardModel
from pipelines.off_policy.sums import Sums, sums_of
from pipelines.off_policy.target import Target
from pipelines.off_policy.weighing import weigh
from transforms.files import storage

__all__ = ["AddSumsFn", "WeighDecisions"]

_Nodes = dict[tuple[int, int], Sums]
"""Sums of 2^level neighboring shards, by level and place."""


@dataclasses.dataclass
class WeighDecisions(beam.PTransform[PCollection[tuple[int, pa.RecordBatch]], PCollection[str]]):
    """Weigh blocks and write the sums of all of them.

    Args:
        target: The policy to evaluate.
        about: The one LogFacts of all blocks.
        seed: Seed of the bootstrap.
        uri: The file of the sums. Without decisions it is not written.
    """

    target: Target
    about: PCollection[LogFacts]
    seed: int
    uri: str

    def expand(self, blocks: PCollection[tuple[int, pa.RecordBatch]]) -> PCollection[str]:
        """Return the uri of the sums."""
        sums = blocks | "WeighBlock" >> beam.Map(_weigh, AsSingleton(self.about), self.target, self.seed)
        adding = AddSumsFn()  # type: ignore[no-untyped-call]
        added = sums | "AddSums" >> beam.CombineGlobally(adding).without_defaults()
        written: PCollection[str] = added | "WriteSums" >> beam.Map(_write, AsSingleton(self.about), self.uri)
        return written


class AddSumsFn(beam.CombineFn):
    """Add the sums of shards in one fixed order, so that the result is the same to the bit on every runner.

    Two neighbors are added once both are there, and their sum is a node of a binary tree.
    """

    def create_accumulator(self) -> _Nodes:
        """Return an empty tree."""
        return {}

    def add_input(self, nodes: _Nodes, numbered: tuple[int, Sums]) -> _Nodes:
        """Add the sums of a shard."""
        shard, sums = numbered
        return _put(nodes, 0, shard, sums)

    def merge_accumulators(self, accumulators: Iterable[_Nodes]) -> _Nodes:
        """Merge trees. The first one is changed."""
        first, *others = accumulators
        for other in others:
            for (level, place), sums in other.items():
                _put(first, level, place, sums)
        return first

    def extract_output(self, nodes: _Nodes) -> Sums:
        """Add the nodes that have no neighbor, in the order of their shards."""
        ordered = sorted(nodes.items(), key=_first_shard)
        total = ordered[0][1]
        for _, sums in ordered[1:]:
            total = total.plus(sums)
        return total


def _put(nodes: _Nodes, level: int, place: int, sums: Sums) -> _Nodes:
    while (neighbor := nodes.pop((level, place ^ 1), None)) is not None:
        sums = neighbor.plus(sums)
        level, place = level + 1, place >> 1
    nodes[level, place] = sums
    return nodes


def _first_shard(node: tuple[tuple[int, int], Sums]) -> int:
    (level, place), _ = node
    return place << level


def _weigh(numbered: tuple[int, pa.RecordBatch], about: LogFacts, target: Target, seed: int) -> tuple[int, Sums]:
    shard, decisions = numbered
    weighed = weigh(decisions, about, RewardModel(about.cells), target)
    return shard, sums_of(weighed, seed)


def _write(sums: Sums, about: LogFacts, uri: str) -> str:
    reward_range = [about.least_reward, about.most_reward]
    storage.write_json(uri, {"sums": sums.to_json(), "reward_range": reward_range})
    return uri
