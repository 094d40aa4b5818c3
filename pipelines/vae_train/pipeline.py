"""Wire the steps that make vae_train's features, from interactions to examples. Each arrow is a module of `steps`.

interactions ─> blocks ─> shards of users ─> histories ─┬─ train ────┬─> vocabulary ─> transform/  vocabulary.parquet
                                                        └─ held out ─┴───────┴─> features ─> examples/
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import apache_beam as beam
import pyarrow as pa

from pipelines.vae_train.config import FeatureRules, SplitRule
from pipelines.vae_train.features.side import SideFiles
from pipelines.vae_train.steps.analyze import TransformUsers
from pipelines.vae_train.steps.divide_users import DivideUsers
from pipelines.vae_train.steps.gather_facts import GatherFacts
from pipelines.vae_train.steps.group_histories import GroupHistories
from pipelines.vae_train.steps.write_examples import WriteExamples
from pipelines.vae_train.steps.write_vocabulary import WriteVocabulary
from transforms.dead_letters import WriteDeadLetters
from transforms.interactions.files import InputFile
from transforms.interactions.format import InteractionFormat
from transforms.interactions.read import ReadInteractions

__all__ = ["Job", "build"]


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """What one run does.

    Args:
        folder: Where the run writes.
        side_files: What `features.side.write_sides` returned for folder/transform.
        unavailable: Item ids that are never recommended.
        user_shards: Shards of the histories.
        analyze_all: Validation users train as well (a refit).
    """

    files: Sequence[InputFile]
    format: InteractionFormat
    rules: FeatureRules
    split: SplitRule
    folder: str
    side_files: Mapping[str, SideFiles]
    unavailable: pa.StringArray
    user_shards: int
    analyze_all: bool = False


def build(root: beam.Pipeline, job: Job) -> None:
    """Add all steps of the job to a pipeline."""
    read = root | "ReadInteractions" >> ReadInteractions(job.files, job.format)
    _ = read.rejected | "WriteDeadLetters" >> WriteDeadLetters(f"{job.folder}/dead_letters")

    grouped = read.blocks | "GroupHistories" >> GroupHistories(job.rules, job.split, job.user_shards)
    divided = grouped.histories | "DivideUsers" >> DivideUsers(grouped.summary, job.split, job.rules, job.analyze_all)
    transformed = divided.train | "TransformUsers" >> TransformUsers(
        divided.held_out, job.rules, job.side_files, job.folder
    )

    examples = transformed.batches | "WriteExamples" >> WriteExamples(divided.division, job.folder)
    _ = transformed.saved_model | "WriteVocabulary" >> WriteVocabulary(divided.counts, job.unavailable, job.folder)
    facts = (read.reports, grouped.faults, divided.facts, examples)
    _ = facts | "GatherFacts" >> GatherFacts(f"{job.folder}/facts.json", job.format.as_of_us)
