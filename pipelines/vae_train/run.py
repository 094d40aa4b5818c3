"""One run of vae_train, from checked options to a committed folder: all that happens around pipeline and training."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.vae_train import options as vae_options
from pipelines.vae_train.featuring import Features, await_features, make_features
from pipelines.vae_train.fitting import Fitted, assist, fit
from pipelines.vae_train.options import VaeOptions
from pipelines.vae_train.workspace import fingerprint, open_workspace, workspace_of
from transforms import progress
from transforms.errors import BadInput, BadUsage
from transforms.files import storage
from transforms.interactions.catalogue import Catalogue, read_items
from transforms.interactions.files import InputFile, match
from transforms.interactions.options import InteractionOptions, interaction_format, interaction_globs
from transforms.interactions.read import FileReport, check_first
from transforms.models.import_tensorflow import import_tensorflow
from transforms.models.publish import publish_run
from transforms.runs.run_folder import RunFolder, already_done, check_apart, open_folder
from transforms.runs.run_record import (
    Artifact,
    RunRecord,
    code_version,
    describe_inputs,
    new_run_id,
    parents_of,
    rfc3339,
)

__all__ = ["Outcome", "run"]

_PARTS = ("transform", "examples", "vocabulary.parquet", "dead_letters", "training.jsonl", "tensorboard", "model")
_FEW_USERS = 100
_FEATURES, _REFIT = "features", "refit-features"
_COUNTS = ("interactions", "items", "users", "train_users", "validation_users", "test_users")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run did. record: its run.json, None for a worker that is not the chief and so writes nothing.

    version: of the published model, None if not published.
    """

    record: RunRecord | None
    reused: bool
    version: int | None


def run(options: PipelineOptions, clock: Callable[[], int]) -> Outcome:
    """Carry out checked options. clock: microseconds since 1970.

    Raises BadUsage, BadInput, TrainingDiverged; then the output folder is as it was before. A run that is killed leaves
    a workspace from which the same command goes on.
    """
    view, reading = options.view_as(VaeOptions), options.view_as(InteractionOptions)
    started_us, tick = clock(), time.perf_counter()
    files, inputs = _inputs(options)
    has_times = check_first(files, interaction_format(options)).timestamp is not None
    for flag, needs_times in (("--split=time", view.split == "time"), ("--recency_half_life", view.recency_half_life)):
        if needs_times and not has_times:
            raise BadInput(f"{files[0].uri}: has no times, which {flag} needs; pass --timestamp_column or leave it")
    defining = vae_options.defining(options)
    if not view.overwrite and already_done(view.output, "vae_train", defining, inputs):
        record = RunRecord(**storage.read_json(storage.join(view.output, "run.json")))
        return Outcome(record, reused=True, version=_publish(options, record, clock))
    import_tensorflow()
    from pipelines.vae_train.training.distribution import open_distribution

    distribution = open_distribution(view.distribute)  # workers find each other before TensorFlow does anything else
    configs = vae_options.model_config(options), vae_options.training_config(options)
    workspace = fingerprint({**defining, "code_version": code_version()}, inputs)
    if not distribution.chief:
        work = workspace_of(view.output, view.work_dir, workspace)
        refit = (lambda: await_features(os.path.join(work, _REFIT))) if view.refit else None
        assist(await_features(os.path.join(work, _FEATURES)), work, *configs, refit, distribution)
        return Outcome(None, reused=False, version=None)
    catalogue = None
    if reading.items:
        catalogue = read_items(
            reading.items, id_column=reading.items_id_column, title_column=reading.items_title_column
        )
    run_id = new_run_id(clock)
    with (
        open_folder(view.output, run_id, view.overwrite) as folder,
        open_workspace(view.output, view.work_dir, workspace) as work,
    ):
        timings = {"prepare": time.perf_counter() - tick}
        tick = time.perf_counter()

        def features(name: str, *, refit: bool) -> Features:
            path = os.path.join(work, name)
            with progress.display(f"vae_train {run_id}"):
                return make_features(options, files, has_times, catalogue, path, folder, refit=refit)

        made = features(_FEATURES, refit=False)
        timings["features"] = time.perf_counter() - tick
        fitted = fit(
            made,
            work,
            *configs,
            view.linear_items,
            (lambda: features(_REFIT, refit=True)) if view.refit else None,
            distribution,
        )
        timings |= fitted.timings
        tick = time.perf_counter()
        record = _record(run_id, started_us, options, inputs, made, fitted, catalogue)
        _export(folder, options, record, fitted)
        timings["export"] = time.perf_counter() - tick
        _bring(folder, fitted)
        record = folder.commit(_PARTS, dataclasses.replace(record, timings=timings))
    return Outcome(record, reused=False, version=_publish(options, record, clock))


def _inputs(options: PipelineOptions) -> tuple[list[InputFile], list[Artifact]]:
    """The files of interactions, and everything the output depends on. Raises BadUsage, BadInput before any work."""
    view, reading = options.view_as(VaeOptions), options.view_as(InteractionOptions)
    files = match(interaction_globs(options), options)
    check_apart(view.output, [file.uri for file in files])
    if view.model_dir and storage.is_local(view.model_dir) and os.path.isfile(view.model_dir):
        raise BadUsage(f"--model_dir={view.model_dir}: is a file; name a folder")
    others = match([reading.items], options) if reading.items else []
    return files, describe_inputs({file.uri: file.size_bytes for file in [*files, *others]})


def _record(
    run_id: str,
    started_us: int,
    options: PipelineOptions,
    inputs: Sequence[Artifact],
    made: Features,
    fitted: Fitted,
    catalogue: Catalogue | None,
) -> RunRecord:
    facts = made.facts
    reports = [FileReport(*report) for report in facts["new_reports"]]
    counters: dict[str, int | float] = {name: facts[name] for name in _COUNTS}
    if fitted.training["refit"]:
        counters["refit_users"] = fitted.features.facts["train_users"]
    for name in ("rows_read", "rows_rejected", "rows_filtered"):
        counters[name] = sum(getattr(report, name) for report in reports)
    if catalogue is not None:
        counters["catalogue_items"] = len(catalogue.table)
        counters["catalogue_duplicates"] = catalogue.duplicates
        counters["catalogue_rejected"] = len(catalogue.rejected)
    if fitted.linear is not None and fitted.blend is not None:
        counters["blend: validation ndcg@100"] = fitted.blend["ndcg@100"]
    counters |= {f"validation {name}": value for name, value in fitted.validation.items()}
    counters |= {f"test {name}": value for name, value in fitted.test.items()}
    return RunRecord(
        run_id=run_id,
        pipeline="vae_train",
        code_version=code_version(),
        started_at=rfc3339(started_us),
        options=vae_options.defining(options),
        inputs=inputs,
        parents=parents_of([each.uri for each in inputs]),
        counters=counters,
        notes=_notes(options, facts, fitted),
    )


def _notes(options: PipelineOptions, facts: dict[str, Any], fitted: Fitted) -> list[str]:
    """What a person should know beside the counts."""
    view = options.view_as(VaeOptions)
    notes = [f"best epoch {fitted.training['best_epoch']} of {fitted.training['epochs_run']}"]
    if fitted.blend is not None and fitted.linear is None:
        notes.append("no linear term: validation likes the model better without")
    elif fitted.blend is not None:
        notes.append(f"served blend: {fitted.share:.1f} autoencoder, rest EASE with lambda {fitted.blend['lambda']:g}")
    if fitted.training["refit"]:
        notes.append("refit on all users but the test users: examples/ are the refit's, without a validation split")
    if facts["validation_users"] < _FEW_USERS:
        notes.append(f"{facts['validation_users']} users validate: too few to trust their scores")
    if facts["items"] > view.sampled_items:
        notes.append(
            f"softmax sampled in training (more than --sampled_items={view.sampled_items}), full in validation"
        )
    if facts["weights_zero"]:
        notes.append(f"{facts['weights_zero']:,} interactions of weight 0 are part of histories, but nothing to learn")
    if facts["users_without_known_items"]:
        notes.append(f"{facts['users_without_known_items']:,} users without an item of the vocabulary are left out")
    if facts["users_too_short_to_hold_out"]:
        notes.append(f"{facts['users_too_short_to_hold_out']:,} held-out users with one item are left out")
    return notes


def _export(folder: RunFolder, options: PipelineOptions, record: RunRecord, fitted: Fitted) -> None:
    from pipelines.vae_train.export.saved_model import export_model

    view, facts = options.view_as(VaeOptions), fitted.features.facts
    times = {"from": facts["oldest_timestamp_us"], "to": facts["newest_timestamp_us"]}
    card = {
        "pipeline": record.pipeline,
        "run_id": record.run_id,
        "trained_at": record.started_at,
        "model": view.model,
        "items": facts["items"],
        "users": facts["train_users"],
        "interactions": facts["interactions"],
        "data_window": {name: None if time_us is None else rfc3339(time_us) for name, time_us in times.items()},
        "validation": dict(fitted.validation),
        "test": dict(fitted.test),
        "training": dict(fitted.training),
        "linear": fitted.blend,
        "sampled_softmax": facts["items"] > view.sampled_items,
        "options": dict(record.options),
    }
    with progress.display(f"vae_train {record.run_id}"):
        progress.expect("models exported", 1)
        progress.advance("models exported", 0)
        with storage.local_place(folder.path("model")) as local:
            export_model(
                fitted.model,
                fitted.linear,
                fitted.share,
                fitted.features.path,
                local,
                serving_top_k=view.serving_top_k,
                model_card=card,
            )
        progress.advance("models exported", 1)


def _bring(folder: RunFolder, fitted: Fitted) -> None:
    """Features and journals into the run's folder. They stay in the workspace too, for a run killed before its commit.

    Locally they are links to the same files, which nobody writes to any more.
    """
    sources = [os.path.join(fitted.features.path, name) for name in _PARTS[:4]]
    for source in [*sources, *fitted.journals]:
        if not os.path.exists(source):
            continue
        target = folder.path(os.path.basename(source))
        if os.path.isdir(source):
            if storage.is_local(target):
                shutil.copytree(source, target, copy_function=_link)
            else:
                storage.copy_folder(source, target)
        elif storage.is_local(target):
            _link(source, target)
        else:
            storage.copy_file(source, target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copy2(source, target)


def _publish(options: PipelineOptions, record: RunRecord, clock: Callable[[], int]) -> int | None:
    view = options.view_as(VaeOptions)
    if not view.model_dir:
        return None
    return publish_run(storage.join(view.output, "model"), view.model_dir, record.run_id, clock)
