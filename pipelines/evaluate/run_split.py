"""Run `split`, from its settings to a committed folder with the rows of train and holdout."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from pipelines.evaluate.leakage import SPLIT
from pipelines.evaluate.options import SplitSettings
from pipelines.evaluate.pipeline import build_split
from pipelines.evaluate.split_files import SplitCounts
from pipelines.evaluate.splitting import SplitRule
from pipelines.evaluate.terminal import print_split
from transforms.errors import BadInput
from transforms.files import storage
from transforms.runs.run import PipelineFactory, Run, count_rows

__all__ = ["split"]


def split(settings: SplitSettings, new_pipeline: PipelineFactory, clock: Callable[[], int]) -> str:
    """Write OUTPUT/train and OUTPUT/holdout.

    Args:
        settings: The checked command line.
        new_pipeline: Makes the pipeline.
        clock: Returns microseconds since 1970.

    Returns:
        The closing sentence.

    Raises:
        BadUsage: The settings contradict the output.
        BadInput: The input cannot be used, or a side of the split would be empty.
    """
    rule, output = settings.rule, settings.run.output
    run = Run(SPLIT, settings.run, new_pipeline, clock)
    files = run.find_files(settings.interactions.globs)
    reading, columns = run.resolve_columns(files, run.date(settings.interactions), {"--by=time": rule.by == "time"})
    run.add_inputs(files)
    if run.reuse():
        return f"{output}: already done"
    with run.open() as folder:
        for name in ("train", "holdout"):
            storage.make_folder(folder.path(name))
        with run.stage("split", "splitting"):
            run.run_pipeline(lambda root: build_split(root, files, reading.format, rule, folder.work))
        facts = run.read_facts(folder.path("facts.json"))
        rows = count_rows(run.check_reports(facts, reading.max_bad_fraction))
        counts = SplitCounts.of(facts)
        _check(counts, rule)
        rejected, future = rows["rows_rejected"], rows["rows_future"]
        unused = rows["rows_read"] - rows["rows_filtered"] - rejected - counts.rows() - counts.zero_weight
        numbers = dataclasses.asdict(counts) | {"unused_rows": unused, "rows_rejected": rejected, "rows_future": future}
        numbers["header_rows"] = rows["header_rows"]
        run.commit(["train", "holdout", "dead_letters"], numbers)
    print_split(counts, unused, rejected, future, output)
    by = rule.by if columns.timestamp else "user, in the order of a hash, as the input has no times"
    return f"{output}: split by {by}; train on {output}/train"


def _check(counts: SplitCounts, rule: SplitRule) -> None:
    if counts.train_rows == 0 or counts.target_rows == 0:
        side = "train" if counts.train_rows == 0 else "holdout targets"
        raise BadInput(
            f"--by={rule.by} --holdout={rule.holdout:g} leaves no {side} in this input; "
            "change --holdout or --by, or pass more interactions"
        )
