"""Run `evaluate`, from its settings to a committed folder and a published model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from pipelines.evaluate import gate as gates
from pipelines.evaluate import leakage, models, workspace
from pipelines.evaluate.baselines import BASELINES
from pipelines.evaluate.dataset import Dataset, check_counts
from pipelines.evaluate.fitting import kinds_to_fit
from pipelines.evaluate.holdout import has_given
from pipelines.evaluate.options import EvaluateSettings
from pipelines.evaluate.pipeline import build_read, build_score
from pipelines.evaluate.report import render
from pipelines.evaluate.summary import Evaluation, summarize, to_json
from pipelines.evaluate.sums import Sums
from pipelines.evaluate.terminal import print_evaluation
from pipelines.evaluate.user_blocks import user_blocks
from transforms.files import storage
from transforms.interactions.columns import use_columns
from transforms.interactions.files import InputFile
from transforms.interactions.format import InteractionFormat
from transforms.interactions.read import check_first
from transforms.models import publish
from transforms.ranking.metrics import columns
from transforms.runs.run import PipelineFactory, Run
from transforms.runs.run_folder import RunFolder
from transforms.runs.run_record import describe_inputs

__all__ = ["evaluate"]


def evaluate(settings: EvaluateSettings, new_pipeline: PipelineFactory, clock: Callable[[], int]) -> str:
    """Write OUTPUT/metrics.json and OUTPUT/report.html, then publish a model or refuse it.

    Args:
        settings: The checked command line.
        new_pipeline: Makes the pipelines.
        clock: Returns microseconds since 1970.

    Returns:
        The closing sentence.

    Raises:
        BadUsage: The settings contradict each other, the models or the output.
        BadInput: The input cannot be used.
        Refused: A gate did not pass, or a model was trained on the holdout.
    """
    publishing, output = settings.publish, settings.run.output
    sources = {name: models.locate(name, folder) for name, folder in settings.models.items()}
    servable = models.publishable(sources[publishing[0]]) if publishing else None
    conditions, serving = gates.with_serving(settings.gates, publishing)
    run = Run("evaluate", settings.run, new_pipeline, clock)
    settings = dataclasses.replace(settings, interactions=run.date(settings.interactions))
    train, holdout = run.find_files(settings.interactions.globs), run.find_files(settings.holdout)
    reading, _ = run.resolve_columns(train, settings.interactions)
    given = has_given(holdout)
    first = check_first(holdout, settings.interactions.format)
    formats = reading.format, use_columns(settings.interactions.format, first, holdout[0].uri)
    held_out = describe_inputs({file.uri: file.size_bytes for file in holdout})
    notes = leakage.check_models(sources, held_out)
    run.add_inputs(train)
    run.inputs += held_out
    run.inputs += [one for source in sources.values() for one in describe_inputs(models.files(source))]
    if run.reuse():
        gates.refuse(storage.read_json(storage.join(output, "metrics.json"))["gates"])
        return f"{output}: already done"
    if serving:
        sources[gates.SERVING] = models.ModelSource(gates.SERVING, "saved_model", serving, serving)

    with run.open() as folder:
        storage.make_folder(folder.path("work"))
        dataset = _read(run, folder, settings, (train, holdout), formats, given)
        check_counts(dataset.counts)
        kinds, left_out = kinds_to_fit(dataset.counts.train_items, settings.ease_items, conditions)
        result = _score(run, folder, settings, dataset, sources, kinds, conditions, [*notes, *left_out])
        for name, text in (("metrics.json", to_json(result)), ("report.html", render(result))):
            with storage.write_whole(folder.path(name)) as file:
                file.write(text.encode())
        numbers = {name: value for name, value in dataclasses.asdict(result.counts).items() if isinstance(value, int)}
        published = ""
        # Publish before run.json is written. A run that fails in between is repeated and publishes again.
        if publishing and servable and all(verdict.passed for verdict in result.verdicts):
            numbers["published_version"] = publish.publish(servable, publishing[1], clock)
            published = f"; published {publishing[0]} as version {numbers['published_version']} in {publishing[1]}"
        run.commit(["metrics.json", "report.html", "dead_letters"], numbers)
    print_evaluation(result)
    gates.refuse([gates.as_json(verdict) for verdict in result.verdicts])
    return f"look at {storage.join(output, 'report.html')}{published}"


def _read(
    run: Run,
    folder: RunFolder,
    settings: EvaluateSettings,
    files: tuple[Sequence[InputFile], Sequence[InputFile]],
    formats: tuple[InteractionFormat, InteractionFormat],
    given: bool,
) -> Dataset:
    """Read train and holdout into the stored dataset. Raise BadInput if they cannot be trusted."""
    work = folder.path("work")
    with run.stage("read", "reading train and holdout"):
        places = (settings.protocol, folder.work, work)
        run.run_pipeline(lambda root: build_read(root, files[0], files[1], given, formats, *places))
    facts = run.read_facts(folder.path("facts.json"))
    for part in ("train", "holdout"):
        run.check_reports(facts, settings.interactions.max_bad_fraction, part)
    dataset: Dataset = workspace.get(work, "dataset")
    return dataset


def _score(
    run: Run,
    folder: RunFolder,
    settings: EvaluateSettings,
    dataset: Dataset,
    sources: Mapping[str, models.ModelSource],
    kinds: Sequence[str],
    conditions: Sequence[gates.Gate],
    notes: Sequence[str],
) -> Evaluation:
    """Fit the baselines, score all models, and decide the gates."""
    work, ks, users = folder.path("work"), settings.ks, dataset.counts.users_evaluated
    baselines = [name for name in BASELINES if name != "ease" or "ease" in kinds]
    names = [*sources, *baselines]
    with run.stage("score", f"ranking for {users} users: {', '.join(names)}"):
        tuning = (settings.ease_lambda, settings.tune_baselines)
        places = (user_blocks(users), names, list(sources.values()), kinds)
        run.run_pipeline(lambda root: build_score(root, *places, ks, *tuning, work))
    sums: Sums = workspace.get(work, "sums")
    parameters = run.read_facts(f"{work}/baselines.json") | {"popularity": "users of the item"}
    described: list[tuple[str, str, str]] = [(name, one.kind, one.uri) for name, one in sources.items()]
    described += [(name, "baseline", parameters[name]) for name in baselines]
    verdicts = [gates.decide(condition, sums, names, columns(ks)) for condition in conditions]
    return summarize(dataset, sums, ks, described, verdicts, notes)
