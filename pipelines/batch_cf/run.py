"""Run batch_cf, from its settings to a committed folder and a published model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.batch_cf import increment
from pipelines.batch_cf.export.saved_model import export_model
from pipelines.batch_cf.options import CfSettings
from pipelines.batch_cf.outputs import PARTS, Exporter, check_facts, count, item_ids, write_model
from pipelines.batch_cf.pipeline import Job, build
from pipelines.batch_cf.selection.select import apply, given_choice, select
from pipelines.batch_cf.strategy import Strategy, choose_strategy
from transforms.errors import BadUsage
from transforms.files import storage
from transforms.interactions.files import InputFile
from transforms.runs.run import PipelineFactory, Run, RunResult, shards_for
from transforms.runs.run_folder import RunFolder
from transforms.runs.run_record import describe_inputs

__all__ = ["run"]


def run(
    settings: CfSettings, new_pipeline: PipelineFactory, clock: Callable[[], int], export: Exporter = export_model
) -> RunResult:
    """Carry out a run.

    Args:
        settings: The checked command line.
        new_pipeline: Makes the pipeline.
        clock: Returns microseconds since 1970.
        export: Writes the servable model.

    Returns:
        What the run did.

    Raises:
        BadUsage: The settings contradict the output, or the base run. The output stays as it was.
        BadInput: The input cannot be used. The output stays as it was.
    """
    run = Run("batch_cf", settings.run, new_pipeline, clock)
    with run.stage("prepare"):
        files = run.find_files(settings.interactions.globs)
        timed = {"--half_life": settings.rules.half_life_us}
        reading, columns = run.resolve_columns(files, run.date(settings.interactions), timed)
        catalogue = run.read_catalogue(reading)
        settings = dataclasses.replace(settings, run=run.settings, interactions=reading)
        run.add_inputs(files, reading.items)
        if settings.base:
            files = increment.new_files(run, files, settings.base, columns)
        if settings.search is not None and settings.search.origin is not None:
            record_uri = storage.join(settings.search.origin, "run.json")
            run.inputs += describe_inputs(storage.list_files(record_uri))
        if done := run.reuse():
            return done
        items = catalogue.table if catalogue else _no_items()
        unavailable = items.filter(pc.invert(items["available"]))["item_id"].combine_chunks()
        chosen = given_choice(settings)
    with run.open() as folder:
        if chosen is None:
            with run.stage("selection"):
                chosen = select(run, settings, files, folder, unavailable)
        settings = apply(settings, chosen)
        base = increment.open_base(settings.base, *increment.shapes(settings)) if settings.base else None
        if not files:
            raise BadUsage(f"--base={settings.base}: has read all files of --interactions; pass the new files")
        choice = choose_strategy(settings, files, columns)
        job = _job(settings, files, folder, items, unavailable, base, choice.strategy)
        with run.stage("pipeline"):
            run.run_pipeline(lambda root: build(root, job))
        facts = run.read_facts(folder.path("facts.json"))
        check_facts(run, facts, reading.max_bad_fraction)
        run.compare_catalogue(item_ids(folder))
        counters = count(facts)
        with run.stage("export"):
            card: dict[str, Any] = {"similarity": settings.measure.name, "choice": chosen.record()}
            card |= {name: counters[name] for name in ("items", "users", "interactions")}
            write_model(folder, settings, run.model_card(**card), export)
        notes = [*increment.base_notes(base, facts), choice.note]
        return run.commit(PARTS, counters, notes, {"choice": chosen.record()})


def _no_items() -> pa.Table:
    """Return an empty catalogue."""
    columns = {"item_id": pa.string(), "title": pa.string(), "available": pa.bool_()}
    return pa.table({name: pa.array([], kind) for name, kind in columns.items()})


def _job(
    settings: CfSettings,
    files: list[InputFile],
    folder: RunFolder,
    items: pa.Table,
    unavailable: pa.StringArray,
    base: increment.Base | None,
    strategy: Strategy,
) -> Job:
    format = settings.interactions.format
    return Job(
        files=files,
        format=format,
        rules=settings.rules,
        measure=settings.measure,
        folder=folder.work,
        titles=items.select(["item_id", "title"]),
        unavailable=unavailable,
        until_us=format.until_us,
        shards=settings.user_shards or shards_for([*files, *(base.files if base else ())]),
        strategy=strategy,
        threads=settings.compute_threads,
        base=base,
        keep_increment=increment.description(settings) if settings.keep_increment else None,
    )
