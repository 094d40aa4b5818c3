"""Wire the steps of batch_cf, from interactions to item neighbors. Each arrow is a module of `steps`.

interactions ─> blocks ─> shards of users ─> histories ─┬─ broadcast ─────────┬─> neighbors/*.parquet
base run ──────────┘            │                │      └─ pair sums (shuffle) ┘        items.parquet
                                └─> numbered items (plan), marginals                   increment/
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa

from pipelines.batch_cf.increment import Base
from pipelines.batch_cf.plan import Strategy
from pipelines.batch_cf.rules import HistoryRules
from pipelines.batch_cf.scoring import Measure
from pipelines.batch_cf.steps.gather_facts import GatherFacts
from pipelines.batch_cf.steps.group_by_user import GroupByUser
from pipelines.batch_cf.steps.number_items import EncodeHistories, NumberItems
from pipelines.batch_cf.steps.rank_neighbors import CheckBase, RankByBroadcast, RankSums, SumPairs
from pipelines.batch_cf.steps.read_blocks import ReadBlocks
from pipelines.batch_cf.steps.write_outputs import WriteIncrement, WriteItems, WriteNeighbors
from transforms.dead_letters import WriteDeadLetters
from transforms.interactions.files import InputFile
from transforms.interactions.format import InteractionFormat

__all__ = ["Job", "build"]


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """What one run does.

    Args:
        folder: Where the run writes.
        titles: Table of item_id and title.
        unavailable: Item ids that are never recommended.
        until_us: Reference time of the decay in microseconds, None for the newest interaction.
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
    broadcast_bytes: int
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
    plan = grouped.shards | "NumberItems" >> NumberItems(job.rules, job.unavailable, job.strategy, job.broadcast_bytes)
    encoded = grouped.shards | "EncodeHistories" >> EncodeHistories(plan, job.rules, job.measure.user_exponent)
    numbers = (plan, encoded.marginals, job.measure)

    broadcast = encoded.histories | "RankByBroadcast" >> RankByBroadcast(*numbers, job.threads)
    base_verdict = plan | "CheckBase" >> CheckBase(*numbers[1:], job.base, job.rules.max_items_per_user is not None)
    pairs = encoded.histories | "SumPairs" >> SumPairs(*numbers, job.base, base_verdict)
    shuffled = pairs | "RankSums" >> RankSums(*numbers, job.threads)

    # Each strategy has its own write step. A Flatten before it would keep all neighbors in memory.
    broadcast_written = broadcast | "WriteBroadcast" >> WriteNeighbors(job.folder, plan)
    shuffled_written = shuffled | "WriteShuffled" >> WriteNeighbors(job.folder, plan)
    items_written = plan | "WriteItems" >> WriteItems(job.folder, job.titles, encoded.marginals)
    if job.keep_increment is not None:
        _ = grouped.shards | "WriteIncrement" >> WriteIncrement(
            job.folder, job.measure, job.keep_increment, plan, encoded.marginals, pairs
        )
    facts = (read.reports, grouped.faults, base_verdict, broadcast_written, shuffled_written, items_written)
    _ = facts | "GatherFacts" >> GatherFacts(f"{job.folder}/facts.json")
