"""Divide histories into raw batches for TF-Transform and count the training users of each item.

A batch holds users that train, or held-out users.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipelines.vae_train.config import FeatureRules, SplitRule
from pipelines.vae_train.features.examples import raw_batches
from pipelines.vae_train.features.histories import Histories
from pipelines.vae_train.features.items import ItemCounts, merge_counts
from pipelines.vae_train.features.splitting import (
    TEST,
    TRAIN,
    VALIDATION,
    Division,
    Summary,
    choose_given,
    divide_users,
    plan_division,
)

__all__ = ["DivideUsers", "Divided", "MergeCountsFn"]


class Divided(NamedTuple):
    """The outputs of DivideUsers.

    Args:
        train: Batches of RAW_SCHEMA of training users.
        held_out: Batches of RAW_SCHEMA of held-out users, each of one split.
        facts: See GatherFacts.
    """

    division: beam.PCollection[Division]
    train: beam.PCollection[pa.RecordBatch]
    held_out: beam.PCollection[pa.RecordBatch]
    counts: beam.PCollection[ItemCounts]
    facts: beam.PCollection[tuple[str, Any]]


@dataclasses.dataclass
class DivideUsers(beam.PTransform[beam.PCollection[Histories], Divided]):
    """Divide histories into batches per split.

    Args:
        summary: Summary of all users.
        split: Which users validate and test.
        rules: What makes a feature.
        analyze_all: Validation users train, and no user validates.
    """

    summary: beam.PCollection[Summary]
    split: SplitRule
    rules: FeatureRules
    analyze_all: bool

    def expand(self, histories: beam.PCollection[Histories]) -> Divided:
        """Return the batches by split, the counts of items, and the facts."""
        division = self.summary | "PlanDivision" >> beam.Map(plan_division, self.split, self.analyze_all)
        divided = histories | "DivideShard" >> beam.FlatMap(
            _divide_shard, beam.pvalue.AsSingleton(division), self.split
        ).with_outputs("held_out", "counts", "facts", main="train")
        counts = divided.counts | "MergeCounts" >> beam.CombineGlobally(MergeCountsFn())  # type: ignore[no-untyped-call]
        judged = self.summary | "JudgeUsers" >> beam.FlatMap(_judge_users, self.analyze_all)
        counted = counts | "JudgeItems" >> beam.FlatMap(_judge_items, beam.pvalue.AsSingleton(self.summary), self.rules)
        facts = (divided.facts, judged, counted) | "FlattenFacts" >> beam.Flatten()
        return Divided(division, divided.train, divided.held_out, counts, facts)


class MergeCountsFn(beam.CombineFn):
    """Add up the counts of all shards. The accumulator holds parts, which are added once they exceed FLUSH_ITEMS."""

    FLUSH_ITEMS = 1_000_000

    def create_accumulator(self) -> list[ItemCounts]:
        """Return an empty list."""
        return []

    def add_input(self, parts: list[ItemCounts], part: ItemCounts) -> list[ItemCounts]:
        """Append the counts of a shard, and add up the parts once they exceed FLUSH_ITEMS."""
        parts.append(part)
        pending = sum(len(each.users) for each in parts[1:])
        return [merge_counts(parts)] if pending > max(self.FLUSH_ITEMS, len(parts[0].users)) else parts

    def merge_accumulators(self, accumulators: Iterable[list[ItemCounts]]) -> list[ItemCounts]:
        """Join the lists, and add up the parts once they exceed FLUSH_ITEMS."""
        merged: list[ItemCounts] = []
        for parts in accumulators:
            for part in parts:
                merged = self.add_input(merged, part)
        return merged

    def compact(self, parts: list[ItemCounts]) -> list[ItemCounts]:
        """Add up the parts before they are sent to another worker."""
        return [merge_counts(parts)] if len(parts) > 1 else parts

    def extract_output(self, parts: list[ItemCounts]) -> ItemCounts:
        """Return the counts of all shards."""
        return merge_counts(parts)


def _divide_shard(
    histories: Histories, division: Division, split: SplitRule
) -> Iterator[pa.RecordBatch | beam.pvalue.TaggedOutput[str, Any]]:
    split_of_user = divide_users(histories, split, division)
    train = histories.select(split_of_user == TRAIN)
    yield from raw_batches(train, np.ones(len(train.codes), np.bool_), TRAIN)
    yield beam.pvalue.TaggedOutput("counts", _count_items(train))
    for held_out in (VALIDATION, TEST):
        chosen = split_of_user == held_out
        divisible = chosen & (histories.lengths >= 2)
        yield beam.pvalue.TaggedOutput("facts", ("users_too_short_to_hold_out", int((chosen & ~divisible).sum())))
        users = histories.select(divisible)
        for batch in raw_batches(users, choose_given(users, split), held_out):
            yield beam.pvalue.TaggedOutput("held_out", batch)


def _count_items(histories: Histories) -> ItemCounts:
    """Count the users of each item. Items without users are left out."""
    users = np.bincount(histories.codes, minlength=len(histories.items))
    return ItemCounts(histories.items.filter(pa.array(users > 0)), users[users > 0].astype(np.int64))


def _judge_users(summary: Summary, analyze_all: bool) -> Iterator[tuple[str, Any]]:
    """Yield the summary as facts, and faults that make a split impossible."""
    yield "users", summary.users
    yield "interactions", summary.interactions
    yield "zero_weight", summary.zero_weight
    yield "has_weight", summary.has_weight
    yield "has_timestamps", summary.has_timestamp
    yield "oldest_timestamp_us", summary.oldest_us
    yield "newest_timestamp_us", summary.newest_us
    if summary.users == 0 and summary.zero_weight:
        yield (
            "faults",
            [
                f"no interaction is left, {summary.zero_weight:,} have weight 0; correct the weights, or name another "
                "--weight_column"
            ],
        )
    elif summary.users == 0:
        yield "faults", ["no interaction is left; loosen --since, --until, --min_weight or --min_user_items"]
    elif summary.users < 2 and not analyze_all:
        yield "faults", ["one user alone is left, a model needs one to train and one to validate; pass more users"]
    elif summary.first_place is None and not analyze_all:
        yield (
            "faults",
            [
                f"none of the {summary.users} users has two items, so that none can validate (one is shown, one asked "
                "for); pass longer histories"
            ],
        )


def _judge_items(counts: ItemCounts, summary: Summary, rules: FeatureRules) -> Iterator[tuple[str, Any]]:
    """Yield the vocabulary's size as facts.

    An empty vocabulary is a fault, because TF-Transform would add a token of its own to it.
    """
    items = len(counts.users)
    kept = counts.kept(rules.min_item_users, rules.max_items)
    frequent = counts.kept(rules.min_item_users, None)
    yield "items", kept
    yield "items_below_minimum", items - frequent
    yield "items_past_maximum", frequent - kept
    if not items and summary.users >= 2:  # for fewer there is a better sentence
        yield "faults", ["no user is left to train; pass more users, or smaller fractions for validation and test"]
    elif items and not kept:
        most = int(counts.users.max())
        yield (
            "faults",
            [
                f"no item has --min_item_users={rules.min_item_users} training users, the most frequent has {most}; "
                "lower it"
            ],
        )
