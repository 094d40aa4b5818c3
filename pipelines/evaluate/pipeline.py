"""Wire the three graphs of evaluate. Each arrow is a module of `steps`.

split     interactions ─> blocks ─> train/*.parquet, holdout/*.parquet
read      train, holdout ─> blocks ─> dataset
score     dataset ─> baselines ─┬─> sums of all models
          blocks of users ──────┘

Reading and scoring are two graphs because the main process checks the file reports between them. No model is fitted on
an input that is about to be refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import apache_beam as beam

from pipelines.evaluate.models import ModelSource
from pipelines.evaluate.splitting import SplitRule
from pipelines.evaluate.steps.build_dataset import BuildDataset
from pipelines.evaluate.steps.read_given import ReadGiven
from pipelines.evaluate.steps.score_blocks import FitBaselines, ScoreBlocks
from pipelines.evaluate.steps.split_rows import SplitRows
from transforms.dead_letters import WriteDeadLetters
from transforms.interactions.files import InputFile
from transforms.interactions.format import InteractionFormat
from transforms.interactions.read import ReadInteractions
from transforms.runs.facts import WriteFacts, name_report

__all__ = ["build_read", "build_score", "build_split"]


def build_split(
    root: beam.Pipeline, files: Sequence[InputFile], format: InteractionFormat, rule: SplitRule, output: str
) -> None:
    """Add the steps that divide interactions into train and holdout.

    Args:
        root: Pipeline that gets the steps.
        files: The interactions.
        format: How to read them.
        rule: Which rows are held out.
        output: Folder for train/, holdout/, dead_letters/ and facts.json.
    """
    read = root | "ReadInteractions" >> ReadInteractions(files, format)
    _ = read.rejected | "WriteDeadLetters" >> WriteDeadLetters(f"{output}/dead_letters")
    counts = read.blocks | "SplitRows" >> SplitRows(rule, output)
    reports = read.reports | "NameReports" >> beam.Map(name_report)
    facts = (counts, reports) | "FlattenFacts" >> beam.Flatten()
    _ = facts | "WriteFacts" >> WriteFacts(f"{output}/facts.json")


def build_read(
    root: beam.Pipeline,
    train: Sequence[InputFile],
    holdout: Sequence[InputFile],
    given: bool,
    formats: tuple[InteractionFormat, InteractionFormat],
    protocol: str | None,
    output: str,
    work: str,
) -> None:
    """Add the steps that turn train and holdout files into the stored dataset.

    Args:
        root: Pipeline that gets the steps.
        train: The train rows.
        holdout: The held-out rows.
        given: Whether the holdout files have the column `given`.
        formats: How to read the train rows, and how to read the held-out rows.
        protocol: `fold_in`, `per_user`, or None to choose by the holdout's rows.
        output: Folder for dead_letters/ and facts.json.
        work: Folder of the workspace.
    """
    rows = root | "ReadTrain" >> ReadInteractions(train, formats[0])
    reader = ReadGiven if given else ReadInteractions
    asked = root | "ReadHoldout" >> reader(holdout, formats[1])
    _ = rows.rejected | "WriteTrainDeadLetters" >> WriteDeadLetters(f"{output}/dead_letters/train")
    _ = asked.rejected | "WriteHoldoutDeadLetters" >> WriteDeadLetters(f"{output}/dead_letters/holdout")
    reports = (
        rows.reports | "NameTrainReports" >> beam.Map(name_report, "train"),
        asked.reports | "NameHoldoutReports" >> beam.Map(name_report, "holdout"),
    )
    _ = reports | "FlattenReports" >> beam.Flatten() | "WriteFacts" >> WriteFacts(f"{output}/facts.json")
    _ = (rows.blocks, asked.blocks) | "BuildDataset" >> BuildDataset(protocol, work)


def build_score(
    root: beam.Pipeline,
    blocks: Sequence[tuple[int, int]],
    names: Sequence[str],
    sources: Sequence[ModelSource],
    baselines: Sequence[str],
    ks: Sequence[int],
    ease_lambda: float,
    tune: bool,
    work: str,
) -> None:
    """Add the steps that score all models on the stored dataset.

    Args:
        root: Pipeline that gets the steps.
        blocks: First user and one past the last of each block.
        names: Models and baselines, in the order of the sums.
        sources: The models that are not baselines.
        baselines: Kinds of baselines to fit, as `fitting.fit` takes them.
        ks: Cut-offs of the metrics.
        ease_lambda: Regularization of EASE.
        tune: Choose the baselines' parameters on users held out of the train rows.
        work: Folder of the workspace, which also gets baselines.json.
    """
    kinds = root | "ListBaselines" >> beam.Create(list(baselines), reshuffle=False)
    fitted = kinds | "FitBaselines" >> FitBaselines(work, ease_lambda, tune)
    _ = fitted | "WriteFacts" >> WriteFacts(f"{work}/baselines.json")
    users = root | "ListUserBlocks" >> beam.Create(list(blocks))
    _ = users | "ScoreBlocks" >> ScoreBlocks(work, tuple(names), tuple(sources), tuple(ks), fitted)
