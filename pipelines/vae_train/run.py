"""Run vae_train, from its settings to a committed folder and a published model."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

from pipelines.vae_train.featuring import Features, await_features, make_features
from pipelines.vae_train.fitting import assist, fit
from pipelines.vae_train.options import VaeSettings
from pipelines.vae_train.outputs import PARTS, bring, export
from pipelines.vae_train.summary import counters, notes
from pipelines.vae_train.workspace import fingerprint, open_workspace, workspace_of
from transforms.models.import_tensorflow import import_tensorflow
from transforms.runs.run import PipelineFactory, Run, RunResult
from transforms.runs.run_record import code_version

__all__ = ["run"]

_FEATURES, _REFIT = "features", "refit-features"


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
    output, work_dir, as_of_us = settings.run.output, settings.work_dir, settings.interactions.format.as_of_us
    with run.stage("prepare"):
        files = run.find_files(settings.interactions.globs)
        timed = {
            "--split=time": settings.split_by == "time",
            "--recency_half_life": settings.model.get("recency_half_life"),
        }
        reading, columns = run.resolve_columns(files, run.date(settings.interactions), timed)
        has_times = columns.timestamp is not None
        catalogue = run.read_catalogue(reading)
        settings = dataclasses.replace(settings, run=run.settings, interactions=reading)
        run.add_inputs(files, reading.items)
        if done := run.reuse():
            return done
        import_tensorflow()
        from pipelines.vae_train.training.distribution import open_distribution

        # Workers find each other before TensorFlow does anything else.
        distribution = open_distribution(settings.training["distribute"])
        recorded = {**settings.run.options, "as_of": as_of_us}  # the flag, since the clock's moves
        workspace = fingerprint({**recorded, "code_version": code_version()}, run.inputs)
    if not distribution.chief:
        work = workspace_of(output, work_dir, workspace)
        refit = (lambda: await_features(os.path.join(work, _REFIT))) if settings.refit else None
        awaited = await_features(os.path.join(work, _FEATURES))
        configs = settings.configs(awaited.items, awaited.facts["interactions"])
        assist(awaited, work, *configs, refit, distribution)
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
        model, training = settings.configs(made.items, made.facts["interactions"])
        fitted = fit(made, work, model, training, settings.linear_items, refit, distribution)
        run.timings |= fitted.timings
        with run.stage("export"):
            export(run, folder, settings.serving_top_k, model, fitted)
        bring(folder, fitted)
        return run.commit(PARTS, counters(made, fitted), notes(model, made.facts, fitted))
