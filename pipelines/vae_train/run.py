"""Run vae_train, from its settings to a committed folder and a published model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

from pipelines.vae_train.featuring import Features, await_features, make_features
from pipelines.vae_train.fitting import Fitted, assist, fit
from pipelines.vae_train.options import VaeSettings
from pipelines.vae_train.workspace import fingerprint, open_workspace, workspace_of
from transforms import progress
from transforms.errors import BadInput
from transforms.files import storage
from transforms.interactions.read import check_first
from transforms.models.import_tensorflow import import_tensorflow
from transforms.runs.facts import reports_of
from transforms.runs.run import PipelineFactory, Run, RunResult, count_rows
from transforms.runs.run_folder import RunFolder
from transforms.runs.run_record import code_version, rfc3339

__all__ = ["run"]

_PARTS = ("transform", "examples", "vocabulary.parquet", "dead_letters", "training.jsonl", "tensorboard", "model")
_FEW_USERS = 100
_FEATURES, _REFIT = "features", "refit-features"
_COUNTS = ("interactions", "items", "users", "train_users", "validation_users", "test_users")


def run(settings: VaeSettings, new_pipeline: PipelineFactory, clock: Callable[[], int]) -> RunResult:
    """Carry out a run. If it is killed, the same command continues from its workspace.

    Args:
        settings: The checked command line.
        new_pipeline: Makes the pipelines.
        clock: Returns microseconds since 1970.

    Returns:
        What the run did.

    Raises:
        BadUsage: The settings contradict the output. The output stays as it was.
        BadInput: The input cannot be used. The output stays as it was.
        TrainingDiverged: The loss is not finite. The output stays as it was.
    """
    run = Run("vae_train", settings.run, new_pipeline, clock)
    reading, output, work_dir = settings.interactions, settings.run.output, settings.work_dir
    with run.stage("prepare"):
        files = run.find_files(reading.globs)
        run.add_inputs(files, reading.items)
        has_times = check_first(files, reading.format).timestamp is not None
        needs = {"--split=time": settings.split_by == "time", "--recency_half_life": settings.model.recency_half_life}
        for flag, needs_times in needs.items():
            if needs_times and not has_times:
                raise BadInput(f"{files[0].uri}: has no times, which {flag} needs; pass --timestamp_column or leave it")
        if done := run.reuse():
            return done
        import_tensorflow()
        from pipelines.vae_train.training.distribution import open_distribution

        # Workers find each other before TensorFlow does anything else.
        distribution = open_distribution(settings.training.distribute)
        workspace = fingerprint({**settings.run.options, "code_version": code_version()}, run.inputs)
        catalogue = run.read_catalogue(reading) if distribution.chief else None
    configs = settings.model, settings.training
    if not distribution.chief:
        work = workspace_of(output, work_dir, workspace)
        refit = (lambda: await_features(os.path.join(work, _REFIT))) if settings.refit else None
        assist(await_features(os.path.join(work, _FEATURES)), work, *configs, refit, distribution)
        return RunResult(None, reused=False, version=None)
    with run.open() as folder, open_workspace(output, work_dir, workspace) as work:

        def features(name: str, *, refit: bool) -> Features:
            path = os.path.join(work, name)
            return make_features(run, settings, files, has_times, catalogue, path, folder, refit=refit)

        def features_of_refit() -> Features:
            with run.display():
                return features(_REFIT, refit=True)

        with run.stage("features"):
            made = features(_FEATURES, refit=False)
        refit = features_of_refit if settings.refit else None
        fitted = fit(made, work, *configs, settings.linear_items, refit, distribution)
        run.timings |= fitted.timings
        with run.stage("export"):
            _export(run, folder, settings, fitted)
        _bring(folder, fitted)
        notes = _notes(settings.model.sampled_items, made.facts, fitted)
        return run.commit(_PARTS, _counters(made, fitted), notes)


def _counters(made: Features, fitted: Fitted) -> dict[str, int | float]:
    facts = made.facts
    counters: dict[str, int | float] = {name: facts[name] for name in _COUNTS}
    if fitted.training["refit"]:
        counters["refit_users"] = fitted.features.facts["train_users"]
    counters |= count_rows(reports_of(facts))
    if fitted.linear is not None and fitted.blend is not None:
        counters["blend: validation ndcg@100"] = fitted.blend["ndcg@100"]
    counters |= {f"validation {name}": value for name, value in fitted.validation.items()}
    counters |= {f"test {name}": value for name, value in fitted.test.items()}
    return counters


def _notes(sampled_items: int, facts: dict[str, Any], fitted: Fitted) -> list[str]:
    """Return the notes for the user, in addition to the counts."""
    notes = [f"best epoch {fitted.training['best_epoch']} of {fitted.training['epochs_run']}"]
    if fitted.blend is not None and fitted.linear is None:
        notes.append("no linear term: validation likes the model better without")
    elif fitted.blend is not None:
        notes.append(f"served blend: {fitted.share:.1f} autoencoder, rest EASE with lambda {fitted.blend['lambda']:g}")
    if fitted.training["refit"]:
        notes.append("refit on all users but the test users: examples/ are the refit's, without a validation split")
    if facts["validation_users"] < _FEW_USERS:
        notes.append(f"{facts['validation_users']} users validate: too few to trust their scores")
    if facts["items"] > sampled_items:
        notes.append(f"softmax sampled in training (more than --sampled_items={sampled_items}), full in validation")
    if facts["weights_zero"]:
        notes.append(f"{facts['weights_zero']:,} interactions of weight 0 are part of histories, but nothing to learn")
    if facts["users_without_known_items"]:
        notes.append(f"{facts['users_without_known_items']:,} users without an item of the vocabulary are left out")
    if facts["users_too_short_to_hold_out"]:
        notes.append(f"{facts['users_too_short_to_hold_out']:,} held-out users with one item are left out")
    return notes


def _export(run: Run, folder: RunFolder, settings: VaeSettings, fitted: Fitted) -> None:
    from pipelines.vae_train.export.saved_model import export_model

    facts = fitted.features.facts
    times = {"from": facts["oldest_timestamp_us"], "to": facts["newest_timestamp_us"]}
    card = run.model_card(
        model=settings.model.kind,
        items=facts["items"],
        users=facts["train_users"],
        interactions=facts["interactions"],
        data_window={name: None if time_us is None else rfc3339(time_us) for name, time_us in times.items()},
        validation=dict(fitted.validation),
        test=dict(fitted.test),
        training=dict(fitted.training),
        linear=fitted.blend,
        sampled_softmax=facts["items"] > settings.model.sampled_items,
    )
    progress.expect("models exported", 1)
    progress.advance("models exported", 0)
    with storage.local_place(folder.path("model")) as local:
        export_model(
            fitted.model,
            fitted.linear,
            fitted.share,
            fitted.features.path,
            local,
            serving_top_k=settings.serving_top_k,
            model_card=card,
        )
    progress.advance("models exported", 1)


def _bring(folder: RunFolder, fitted: Fitted) -> None:
    """Copy features and journals into the run's folder.

    They stay in the workspace too, for a run that is killed before its commit. Locally the copies are links to the
    same files, which are not written any more.
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
