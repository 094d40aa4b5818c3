"""The pipeline that counts users: decisions join their rewards, and each user's decisions are added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import apache_beam as beam

from pipelines.experiment.steps.sum_users import SumUsers
from transforms.attribution.joined.join_decisions import JoinDecisions
from transforms.dead_letters import WriteDeadLetters
from transforms.runs.facts import WriteFacts

__all__ = ["build"]


def build(
    root: beam.Pipeline,
    bandits: bytes,
    bandit_id: str,
    names: Sequence[str],
    files: tuple[Mapping[str, int], Mapping[str, int]],
    now_us: int,
    folder: str,
    buckets: int,
) -> None:
    """Add the pipeline to an empty one.

    Args:
        root: The pipeline.
        bandits: Bytes of the bandits file.
        bandit_id: The bandit.
        names: Names of the groups.
        files: Sizes in bytes by name of the decision files, and of the reward files.
        now_us: The clock, microseconds.
        folder: Folder for facts.json and dead_letters/.
        buckets: Number of buckets of users.
    """
    joined = root | "JoinLogs" >> JoinDecisions(bandits, *files, now_us)
    _ = joined.rejected | "WriteDeadLetters" >> WriteDeadLetters(f"{folder}/dead_letters")
    totals = joined.blocks | "SumUsers" >> SumUsers(bandits, bandit_id, names, buckets)
    facts = (joined.facts, totals) | "FlattenFacts" >> beam.Flatten()
    _ = facts | "WriteFacts" >> WriteFacts(f"{folder}/facts.json")
