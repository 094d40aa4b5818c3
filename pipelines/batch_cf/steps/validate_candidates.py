"""Hold out items of the sampled users, and validate every candidate. A worker holds the whole sample."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa

from pipelines.batch_cf.rules import HistoryRules
from pipelines.batch_cf.selection.candidates import groups_of
from pipelines.batch_cf.selection.holdout import Sample, hold_out, join_shards
from pipelines.batch_cf.selection.sample import LogSize, share_of
from pipelines.batch_cf.selection.search import Search, differ
from pipelines.batch_cf.selection.validate import validate_group
from pipelines.batch_cf.steps.group_by_user import ShardHistories
from transforms import progress
from transforms.histories.shards import UserShard

__all__ = ["ValidateCandidates", "ValidateGroupFn"]


@dataclasses.dataclass
class ValidateCandidates(beam.PTransform[beam.PCollection[ShardHistories], beam.PCollection[dict[str, Any]]]):
    """Validate the candidates of a search on sampled histories.

    The output is facts: `scores`, a list of (place of the candidate, mean NDCG@20), and numbers about the sample.
    """

    search: Search
    rules: HistoryRules
    unavailable: pa.StringArray
    size: beam.PCollection[LogSize]
    threads: int | None

    def expand(self, shards: beam.PCollection[ShardHistories]) -> beam.PCollection[dict[str, Any]]:
        """Return the facts."""
        size = beam.pvalue.AsSingleton(self.size)
        sample = (
            shards
            | "TakeHistories" >> beam.Map(_after)
            | "JoinShards" >> beam.CombineGlobally(beam.combiners.ToListCombineFn())
            | "HoldOut" >> beam.Map(_hold_out, self.rules.seed)
        )  # fmt: skip
        scores = (
            sample
            | "ListGroups" >> beam.FlatMap(_groups, size, self.search)
            | "SpreadGroups" >> beam.Reshuffle()
            | "ValidateGroup"
            >> beam.ParDo(
                ValidateGroupFn(self.search, self.rules, self.unavailable, self.threads),
                beam.pvalue.AsSingleton(sample),
                size,
            )
        )
        described = sample | "DescribeSample" >> beam.Map(_describe, size)
        facts: beam.PCollection[dict[str, Any]] = (scores, described) | "FlattenFacts" >> beam.Flatten()
        return facts


class ValidateGroupFn(beam.DoFn):
    """Apply `validate_group` to the candidates of a group, given by their places in the list."""

    def __init__(self, search: Search, rules: HistoryRules, unavailable: pa.StringArray, threads: int | None) -> None:
        self._search = search
        self._rules = rules
        self._unavailable = unavailable
        self._threads = threads

    def process(self, places: list[int], sample: Sample, size: LogSize) -> Iterator[dict[str, Any]]:
        """Yield the scores of a group."""
        candidates = self._search.candidates(len(size.items), differ(sample.given.weights))
        progress.expect("candidates validated", len(candidates))
        scores = validate_group(
            sample,
            [candidates[place] for place in places],
            share_of(size.rows).share,
            self._rules,
            self._unavailable,
            self._threads or os.cpu_count() or 1,
        )
        progress.advance("candidates validated", len(places))
        yield {"scores": [[place, score] for place, score in zip(places, scores, strict=True)]}


def _after(shard: ShardHistories) -> UserShard:
    return shard.after


def _hold_out(shards: list[UserShard], seed: int) -> Sample:
    return hold_out(join_shards(shards), seed)


def _groups(sample: Sample, size: LogSize, search: Search) -> Iterator[list[int]]:
    yield from groups_of(search.candidates(len(size.items), differ(sample.given.weights)))


def _describe(sample: Sample, size: LogSize) -> dict[str, Any]:
    share = share_of(size.rows)
    return {
        "items": len(size.items),
        "weights_differ": differ(sample.given.weights),
        "sample": {
            "rows": int(size.rows[: share.buckets].sum()),
            "share": share.share,
            "users": len(sample.given.users),
            "validation_users": len(sample.users),
        },
    }
