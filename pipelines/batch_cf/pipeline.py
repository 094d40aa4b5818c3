"""Wire the steps of batch_cf, from interactions to item neighbors. Each arrow is a module of `steps`.

interactions ─> blocks ─> shards of users ─> histories ─┬─ RankByBroadcast ──────┬─> neighbors/*.parquet
base run ──────────┘            │                       └─ SumPairs ─> RankSums ─┘
                                │                 │    or SolveEase ─┘
                                │                 └───────────────────────────────> increment/
                                └─> plan (numbered items), marginals ─────────────> items.parquet

A graph holds one of the two ways to the neighbors. `strategy` chooses it before the graph is built.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa

from pipelines.batch_cf.increment import Base
from pipelines.batch_cf.rules import HistoryRules
from pipelines.batch_cf.scoring import Measure
from pipelines.batch_cf.steps.gather_facts import GatherFacts, name_why_not
from pipelines.batch_cf.steps.group_by_user import GroupByUser
from pipelines.batch_cf.steps.number_items import EncodeHistories, NumberItems
from pipelines.batch_cf.steps.rank_by_broadcast import RankByBroadcast
from pipelines.batch_cf.steps.rank_by_shuffle import CompareWithBase, RankSums, SumPairs
from pipelines.batch_cf.steps.read_blocks import ReadBlocks
from pipelines.batch_cf.steps.solve_ease import SolveEase
from pipelines.batch_cf.steps.write_outputs import WriteIncrement, WriteItems, WriteNeighbors
from pipelines.batch_cf.strategy import Strategy
from transforms.dead_letters import WriteDeadLetters
from transforms.interactions.files import InputFile
from transforms.interactions.format import InteractionFormat
from transforms.runs.facts import name_fault

__all__ = ["Job", "build"]


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """What one run does.

    Args:
        folder: Where the run writes.
        titles: Table of item_id and title.
        unavailable: Item ids that are never recommended.
        until_us: Reference time of the decay in microseconds, None for the newest interaction.
        strategy: How pairs are summed. A base, an increment and ease need shuffle.
        base: The run whose increment this run builds on, None without one.
        keep_increment: Description of the increment to write (stored_by, summed_by), None to write none.
    """

    files: Sequence[InputFile]
    format: InteractionFormat
    rules: HistoryRules
    measure: Measure
    folder: str
    titles: pa.Table
    unavailable: pa.StringArray
    until_us: int | None
    shards: int
    strategy: Strategy
    threads: int | None
    base: Base | None
    keep_increment: dict[str, Any] | None


def build(root: beam.Pipeline, job: Job) -> None:
    """Add all steps of the job to a pipeline."""
    read = root | "ReadBlocks" >> ReadBlocks(job.files, job.format, job.base)
    _ = read.rejected | "WriteDeadLetters" >> WriteDeadLetters(f"{job.folder}/dead_letters")

    grouped = read.blocks | "GroupByUser" >> GroupByUser(
        job.rules, job.shards, job.until_us, keep=job.keep_increment is not None
    )
    plan = grouped.shards | "NumberItems" >> NumberItems(job.rules, job.unavailable)
    encoded = grouped.shards | "EncodeHistories" >> EncodeHistories(plan, job.rules, job.measure.user_exponent)
    numbers = (plan, encoded.marginals, job.measure)
    facts = [read.reports, grouped.facts]
    facts.append(plan | "WriteItems" >> WriteItems(job.folder, job.titles, encoded.marginals))

    if job.strategy == "broadcast":
        neighbors = encoded.histories | "RankByBroadcast" >> RankByBroadcast(*numbers, job.threads)
    else:
        why_not = None
        if job.base is not None:
            capped = job.rules.max_items_per_user is not None
            why_not = plan | "CompareWithBase" >> CompareWithBase(*numbers[1:], job.base, capped)
            facts.append(why_not | "NameWhyNot" >> beam.Map(name_why_not))
        pairs = encoded.histories | "SumPairs" >> SumPairs(*numbers, job.base, why_not)
        if job.measure.name == "ease":
            neighbors, faults = pairs | "SolveEase" >> SolveEase(*numbers)
            facts.append(faults | "NameEaseFaults" >> beam.Map(name_fault))
        else:
            neighbors = pairs | "RankSums" >> RankSums(*numbers, job.threads)
        if job.keep_increment is not None:
            _ = grouped.shards | "WriteIncrement" >> WriteIncrement(
                job.folder, job.measure, job.keep_increment, plan, encoded.marginals, pairs
            )
    facts.append(neighbors | "WriteNeighbors" >> WriteNeighbors(job.folder, plan))
    _ = tuple(facts) | "GatherFacts" >> GatherFacts(f"{job.folder}/facts.json")
