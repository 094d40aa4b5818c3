"""Run `split` and `evaluate`, from their settings to a committed folder and a published model."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from pipelines.evaluate import gate as gates
from pipelines.evaluate import leakage, models, workspace
from pipelines.evaluate.baselines import BASELINES
from pipelines.evaluate.dataset import Dataset
from pipelines.evaluate.holdout import has_given
from pipelines.evaluate.options import EvaluateSettings, SplitSettings
from pipelines.evaluate.pipeline import build_read, build_score, build_split
from pipelines.evaluate.report import render
from pipelines.evaluate.split_files import SplitCounts
from pipelines.evaluate.splitting import SplitRule
from pipelines.evaluate.summary import summarize, to_json
from pipelines.evaluate.sums import Sums
from pipelines.evaluate.terminal import print_evaluation, print_split
from pipelines.evaluate.user_blocks import user_blocks
from transforms.errors import BadInput, BadUsage, Refused
from transforms.files import storage
from transforms.interactions.read import check_first
from transforms.models import publish
from transforms.ranking.metrics import columns
from transforms.runs.run import PipelineFactory, Run
from transforms.runs.run_record import Artifact, describe_inputs

__all__ = ["evaluate", "split"]


def split(settings: SplitSettings, new_pipeline: PipelineFactory, clock: Callable[[], int]) -> str:
    """Write OUTPUT/train and OUTPUT/holdout.

    Args:
        settings: The checked command line.
        new_pipeline: Makes the pipeline.
        clock: Returns microseconds since 1970.

    Returns:
        The closing sentence.
    """
    rule, output, format = settings.rule, settings.run.output, settings.interactions.format
    most_bad = settings.interactions.max_bad_fraction
    run = Run(leakage.SPLIT, settings.run, new_pipeline, clock)
    files = run.find_files(settings.interactions.globs)
    first = check_first(files, format)
    if rule.by == "time" and first.timestamp is None:
        raise BadInput(f"{files[0].uri}: has no times to split by; pass --timestamp_column, or use --by=user")
    run.add_inputs(files)
    if run.reuse():
        return f"{output}: already done"
    with run.open() as folder:
        for name in ("train", "holdout"):
            storage.make_folder(folder.path(name))
        with run.stage("split", "splitting"):
            run.run_pipeline(lambda root: build_split(root, files, format, rule, folder.work))
        facts = run.read_facts(folder.path("facts.json"))
        reports = run.check_reports(facts, most_bad)
        counts = SplitCounts.of(facts)
        _check_split(counts, rule)
        rejected = sum(report.rows_rejected for report in reports)
        unused = sum(report.rows_read - report.rows_filtered for report in reports) - rejected
        unused -= counts.train_rows + counts.given_rows + counts.target_rows
        numbers = dataclasses.asdict(counts) | {"unused_rows": unused, "rows_rejected": rejected}
        run.commit(["train", "holdout", "dead_letters"], numbers)
    print_split(_console(), counts, unused, rejected, output)
    by = "user, in the order of a hash, as the input has no times" if first.timestamp is None else rule.by
    return f"{output}: split by {by}; train on {output}/train"


def evaluate(settings: EvaluateSettings, new_pipeline: PipelineFactory, clock: Callable[[], int]) -> str:
    """Write OUTPUT/metrics.json and OUTPUT/report.html, then publish a model or refuse it.

    Args:
        settings: The checked command line.
        new_pipeline: Makes the pipelines.
        clock: Returns microseconds since 1970.

    Returns:
        The closing sentence.

    Raises:
        Refused: A gate did not pass, or a model was trained on the holdout.
    """
    ks, publishing, output = settings.ks, settings.publish, settings.run.output
    format, most_bad = settings.interactions.format, settings.interactions.max_bad_fraction
    sources = {name: models.locate(name, folder) for name, folder in settings.models.items()}
    servable = models.publishable(sources[publishing[0]]) if publishing else None
    conditions, serving = _with_serving(settings.gates, publishing)
    run = Run("evaluate", settings.run, new_pipeline, clock)
    train = run.find_files(settings.interactions.globs)
    holdout = run.find_files(settings.holdout)
    check_first(train, format)
    given = has_given(holdout)
    if not given:
        check_first(holdout, format)
    asked = describe_inputs({file.uri: file.size_bytes for file in holdout})
    notes = _check_leaks(sources, asked)
    run.add_inputs(train)
    run.inputs += asked
    run.inputs += [one for source in sources.values() for one in describe_inputs(models.files(source))]
    if run.reuse():
        _refuse(storage.read_json(storage.join(output, "metrics.json"))["gates"])
        return f"{output}: already done"
    sources |= {serving.name: serving} if serving else {}

    with run.open() as folder:
        work = folder.path("work")
        storage.make_folder(work)
        with run.stage("read", "reading train and holdout"):
            places = (settings.protocol, folder.work, work)
            run.run_pipeline(lambda root: build_read(root, train, holdout, given, format, *places))
        for part in ("train", "holdout"):
            run.check_reports(run.read_facts(folder.path("facts.json")), most_bad, part)
        dataset: Dataset = workspace.get(work, "dataset")
        _check_dataset(dataset)
        kinds = _kinds(dataset, settings.ease_items, conditions, notes)
        baselines = [name for name in BASELINES if name != "ease" or "ease" in kinds]
        names = [*sources, *baselines]
        blocks = user_blocks(dataset.counts.users_evaluated)
        with run.stage("score", f"ranking for {dataset.counts.users_evaluated} users: {', '.join(names)}"):
            tuning = (settings.ease_lambda, settings.tune_baselines)
            run.run_pipeline(
                lambda root: build_score(root, blocks, names, list(sources.values()), kinds, ks, *tuning, work)
            )
        sums: Sums = workspace.get(work, "sums")
        notes += _strangers(sums, names, list(sources), ks)
        how = run.read_facts(f"{work}/baselines.json") | {"popularity": "users of the item"}
        described: list[tuple[str, str, str]] = [(name, one.kind, one.uri) for name, one in sources.items()]
        described += [(name, "baseline", how[name]) for name in baselines]
        verdicts = [gates.decide(condition, sums, names, columns(ks)) for condition in conditions]
        result = summarize(dataset, sums, ks, described, verdicts, notes)
        for name, text in (("metrics.json", to_json(result)), ("report.html", render(result))):
            with storage.write_whole(folder.path(name)) as file:
                file.write(text.encode())
        numbers = {name: value for name, value in dataclasses.asdict(result.counts).items() if isinstance(value, int)}
        published = ""
        # Publish before run.json is written. A run that fails in between is repeated and publishes again.
        if publishing and servable and all(verdict.passed for verdict in verdicts):
            numbers["published_version"] = publish.publish(servable, publishing[1], clock)
            published = f"; published {publishing[0]} as version {numbers['published_version']} in {publishing[1]}"
        run.commit(["metrics.json", "report.html", "dead_letters"], numbers)
    print_evaluation(_console(), result)
    _refuse([gates.as_json(verdict) for verdict in verdicts])
    return f"look at {storage.join(output, 'report.html')}{published}"


def _kinds(dataset: Dataset, ease_items: int, conditions: Sequence[gates.Gate], notes: list[str]) -> list[str]:
    """Return the kinds of baselines to fit. If EASE is left out, add a note, or raise BadUsage if a gate needs it."""
    items = dataset.counts.train_items
    if items <= ease_items:
        return ["neighbors", "rp3beta", "ease"]
    for condition in conditions:
        if "ease" in (condition.candidate, condition.baseline):
            raise BadUsage(f"--gate={condition}: EASE is left out for {items} items; raise --ease_items={ease_items}")
    notes.append(f"EASE left out: {items} items are more than --ease_items={ease_items}")
    return ["neighbors", "rp3beta"]


def _strangers(sums: Sums, names: Sequence[str], models: Sequence[str], ks: Sequence[int]) -> list[str]:
    """Return notes on models whose lists hold no item of the data. Their ids are most likely of another kind."""
    largest = len(ks) - 1
    return [
        f"{name} recommended no item of train or holdout to anybody; are its item ids those of --interactions?"
        for place, name in enumerate(names)
        if name in models and not sums.recommended[[place * len(ks) + largest]].nnz
    ]


def _refuse(verdicts: Sequence[dict[str, Any]]) -> None:
    for verdict in verdicts:
        if not verdict["passed"]:
            raise Refused(f"gate {verdict['gate']} refused, nothing was published: {verdict['sentence']}")


def _with_serving(
    conditions: Sequence[gates.Gate], publishing: tuple[str, str] | None
) -> tuple[list[gates.Gate], models.ModelSource | None]:
    """Return the gates with `serving` resolved to the newest published version, or to popularity if there is none."""
    if publishing is None or not any(one.baseline == gates.SERVING for one in conditions):
        return list(conditions), None
    version = models.newest_version(publishing[1])
    if version:
        return list(conditions), models.ModelSource(gates.SERVING, "saved_model", version, version)
    print(f"{publishing[1]} holds no version yet: the gate compares with popularity", file=sys.stderr)
    return [
        gates.with_baseline(one, "popularity") if one.baseline == gates.SERVING else one for one in conditions
    ], None


def _check_leaks(sources: dict[str, models.ModelSource], holdout: Sequence[Artifact]) -> list[str]:
    """Return notes on models that cannot be checked. Raise Refused if a model was trained on the holdout."""
    forbidden = leakage.fingerprints(holdout)
    for folder in sorted({os.path.dirname(file.uri) for file in holdout}):
        record = leakage.split_record(folder)
        forbidden += leakage.inputs_of(record) if record else []
    notes = []
    for name, source in sources.items():
        record = leakage.model_record(source.given) or leakage.model_record(source.uri)
        if record is None:
            notes.append(f"{name} has no run.json: whether it was trained on the holdout is not known")
        else:
            leakage.check(name, leakage.inputs_of(record), forbidden)
    return notes


def _check_split(counts: SplitCounts, rule: SplitRule) -> None:
    if counts.train_rows == 0 or counts.target_rows == 0:
        side = "train" if counts.train_rows == 0 else "holdout targets"
        raise BadInput(
            f"--by={rule.by} --holdout={rule.holdout:g} leaves no {side} in this input; "
            "change --holdout or --by, or pass more interactions"
        )


def _check_dataset(dataset: Dataset) -> None:
    counts = dataset.counts
    if counts.users_evaluated == 0:
        raise BadInput(
            f"--holdout: none of {counts.users_empty_holdout} users has an item to find ({counts.holdout_rows} rows, "
            f"{counts.targets_in_history} of them already in a history); check --holdout and --protocol"
        )


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 120)  # a pipe has no width; 80 would cut the table
