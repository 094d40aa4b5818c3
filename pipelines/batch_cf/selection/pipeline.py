"""Wire the selection: a first pipeline over a sample of users, whose result decides the graph of the run.

interactions ─> blocks ─> SampleUsers ─> shards of users ─> ValidateCandidates ─> facts
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import apache_beam as beam
import pyarrow as pa

from pipelines.batch_cf.rules import HistoryRules
from pipelines.batch_cf.selection.search import Search
from pipelines.batch_cf.steps.group_by_user import GroupByUser
from pipelines.batch_cf.steps.read_blocks import ReadBlocks
from pipelines.batch_cf.steps.sample_users import SampleUsers
from pipelines.batch_cf.steps.validate_candidates import ValidateCandidates
from transforms.interactions.files import InputFile
from transforms.interactions.format import InteractionFormat
from transforms.runs.facts import WriteFacts

__all__ = ["SelectionJob", "build"]

SHARDS = 4
"""Shards of sampled users. They are joined again, so their number changes nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class SelectionJob:
    """What one selection does.

    Args:
        rules: Which interactions make a history. Weights are kept.
        unavailable: Item ids that are never recommended.
        until_us: Reference time of the decay in microseconds, None for the newest interaction.
        threads: Threads per worker. None takes all cores.
        facts_uri: The file of facts to write.
    """

    files: Sequence[InputFile]
    format: InteractionFormat
    rules: HistoryRules
    search: Search
    unavailable: pa.StringArray
    until_us: int | None
    threads: int | None
    facts_uri: str


def build(root: beam.Pipeline, job: SelectionJob) -> None:
    """Add all steps of the selection to a pipeline."""
    read = root | "ReadBlocks" >> ReadBlocks(job.files, job.format, None)
    sampled = read.blocks | "SampleUsers" >> SampleUsers(job.rules.seed)
    grouped = sampled.blocks | "GroupByUser" >> GroupByUser(job.rules, SHARDS, job.until_us, keep=False)
    facts = grouped.shards | "ValidateCandidates" >> ValidateCandidates(
        job.search, job.rules, job.unavailable, sampled.size, job.threads
    )
    _ = facts | "WriteFacts" >> WriteFacts(job.facts_uri)
