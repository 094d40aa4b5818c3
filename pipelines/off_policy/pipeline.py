"""Wire the graph of off_policy. Each arrow is a module of `steps`, or of transforms.

logs ─> joined decisions ─> selected decisions ─┬─> facts about the log ─┐
                                                └────────────────────────┴─> weighed decisions ─> sums

The facts are when each arm could be drawn, and the cells of the reward model. They are a side input of the weighing.
"""

from __future__ import annotations

from collections.abc import Mapping

import apache_beam as beam

from pipelines.off_policy.selection import Selection
from pipelines.off_policy.steps.collect_facts import CollectFacts
from pipelines.off_policy.steps.select_decisions import SelectDecisions
from pipelines.off_policy.steps.weigh_decisions import WeighDecisions
from pipelines.off_policy.target import Target
from transforms.attribution.joined.join_decisions import JoinDecisions
from transforms.dead_letters import WriteDeadLetters
from transforms.runs.facts import WriteFacts

__all__ = ["build"]


def build(
    root: beam.Pipeline,
    bandits: bytes,
    logs: tuple[Mapping[str, int], Mapping[str, int]],
    selection: Selection,
    target: Target,
    seed: int,
    now_us: int,
    output: str,
) -> None:
    """Add the steps that turn logs into sums.

    Args:
        root: Pipeline that gets the steps.
        bandits: Bytes of the bandits file.
        logs: Sizes of the decision files in bytes by name, and of the reward files.
        selection: Which decisions are evaluated.
        target: The policy to evaluate.
        seed: Seed of the bootstrap.
        now_us: The clock, microseconds.
        output: Folder for dead_letters/, facts.json and sums.json.
    """
    joined = root | "JoinDecisions" >> JoinDecisions(bandits, *logs, now_us)
    _ = joined.rejected | "WriteDeadLetters" >> WriteDeadLetters(f"{output}/dead_letters")
    selected = joined.blocks | "SelectDecisions" >> SelectDecisions(selection)
    about = selected.blocks | "CollectFacts" >> CollectFacts(target.generations)
    _ = selected.blocks | "WeighDecisions" >> WeighDecisions(target, about, seed, f"{output}/sums.json")
    facts = (joined.facts, selected.facts) | "FlattenFacts" >> beam.Flatten()
    _ = facts | "WriteFacts" >> WriteFacts(f"{output}/facts.json")
