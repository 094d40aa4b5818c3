"""Wire the steps of interactions, from logs to a log of interactions.

decisions, rewards ─> JoinDecisions ─┬─> WriteInteractions ─> interactions/*.parquet
                                     └─> rejected ──────────> dead_letters/
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import apache_beam as beam

from pipelines.interactions.steps.write_interactions import WriteInteractions
from transforms.attribution.joined.join_decisions import JoinDecisions
from transforms.dead_letters import WriteDeadLetters
from transforms.runs.facts import WriteFacts

__all__ = ["Job", "build"]

# JoinDecisions counts rewards by the rules of a bandits file. Interactions use none of these counts, so the rules are
# those of a file without the log's bandits, and the command needs no --bandits.
_NO_RULES = b"""
bandits:
  none:
    policy_epoch: 0
    default_arm: none
    arms: {none: {generation: 1, model: none}}
    policy: {kind: fixed, weights: {none: 1}}
    attribution: {window: 1h, allowed_lateness: 1h}
"""


@dataclasses.dataclass(frozen=True)
class Job:
    """What one run does.

    Args:
        decisions: Sizes of the decision files in bytes, by name.
        rewards: Sizes of the reward files in bytes, by name.
        kinds: Kinds of rewards that are interactions.
        now_us: The clock, microseconds since 1970. Records after it are rejected.
        folder: Where the run writes.
    """

    decisions: Mapping[str, int]
    rewards: Mapping[str, int]
    kinds: frozenset[str]
    now_us: int
    folder: str


def build(root: beam.Pipeline, job: Job) -> None:
    """Add all steps of the job to a pipeline."""
    joined = root | "JoinDecisions" >> JoinDecisions(_NO_RULES, job.decisions, job.rewards, job.now_us)
    _ = joined.rejected | "WriteDeadLetters" >> WriteDeadLetters(f"{job.folder}/dead_letters")
    counts = joined.blocks | "WriteInteractions" >> WriteInteractions(job.kinds, job.folder)
    facts = (joined.facts, counts) | "FlattenFacts" >> beam.Flatten()
    _ = facts | "WriteFacts" >> WriteFacts(f"{job.folder}/facts.json")
