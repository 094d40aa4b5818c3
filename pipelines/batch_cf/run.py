"""Run batch_cf, from its settings to a committed folder and a published model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.batch_cf import increment
from pipelines.batch_cf.export.saved_model import export_model
from pipelines.batch_cf.options import CfSettings
from pipelines.batch_cf.pipeline import Job, build
from pipelines.batch_cf.selection.select import apply, given_choice, select
from pipelines.batch_cf.strategy import Choice, Strategy, choose_by_size, has_weights, most_rows
from pipelines.batch_cf.table import load_table
from transforms import progress
from transforms.errors import BadInput, BadUsage
from transforms.files import storage
from transforms.interactions.columns import Columns
from transforms.interactions.files import InputFile
from transforms.interactions.reports import check_reports
from transforms.runs.facts import reports_of
from transforms.runs.run import PipelineFactory, Run, RunResult, count_rows, shards_for
from transforms.runs.run_folder import RunFolder
from transforms.runs.run_record import Artifact, describe_inputs

__all__ = ["Exporter", "run"]

Exporter = Callable[..., None]
"""`export.saved_model.export_model`, or another function that takes its arguments."""

_FACTS = ("repeats", "zero_weight", "decayed", "of_limited_users", "users", "items", "interactions", "pair_work")
"""Facts that become counters. The first four are interactions that were left out, see `shards.Kept`."""
_PARTS = ("neighbors", "items.parquet", "model", "dead_letters", increment.FOLDER)


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
            files = _new_files(run, files, settings.base)
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
        choice = _choose(settings, files, columns)
        job = _job(settings, files, folder, items, unavailable, base, choice.strategy)
        with run.stage("pipeline"):
            run.run_pipeline(lambda root: build(root, job))
        facts = run.read_facts(folder.path("facts.json"))
        _check(run, facts, reading.max_bad_fraction)
        run.compare_catalogue(_item_ids(folder))
        counters = _counters(facts)
        with run.stage("export"):
            card: dict[str, Any] = {"similarity": settings.measure.name, "choice": chosen.record()}
            card |= {name: counters[name] for name in ("items", "users", "interactions")}
            _export(folder, settings, run.model_card(**card), export)
        notes = [*_base_notes(base, facts), choice.note]
        return run.commit(_PARTS, counters, notes, {"choice": chosen.record()})


def _new_files(run: Run, files: list[InputFile], base: str) -> list[InputFile]:
    """Return the files that the base has not read, and add the inputs of the base and its run.json to the inputs."""
    record_uri = storage.join(base, "run.json")
    record = storage.read_json(record_uri) or {}
    of_base = [Artifact(**each) for each in record.get("inputs", [])]
    digests = {each.digest for each in of_base}
    known = {each.uri for each in run.inputs if each.digest in digests} & {file.uri for file in files}
    if known:
        more = f" and {len(known) - 1:,} more" if len(known) > 1 else ""
        run.warn(f"{min(known)}{more}: read by --base={base} already; the run leaves out files with the same content")
    run.inputs = [each for each in run.inputs if each.uri not in known] + of_base
    run.inputs += describe_inputs(storage.list_files(record_uri))
    return [file for file in files if file.uri not in known]


def _no_items() -> pa.Table:
    """Return an empty catalogue."""
    columns = {"item_id": pa.string(), "title": pa.string(), "available": pa.bool_()}
    return pa.table({name: pa.array([], kind) for name, kind in columns.items()})


def _choose(settings: CfSettings, files: list[InputFile], columns: Columns) -> Choice:
    """Choose how pairs are summed. The files are opened only if the flags leave it open."""
    needed_by = {
        "--keep_increment": settings.keep_increment,
        "--base": settings.base,
        "--similarity=ease": settings.measure.name == "ease",
    }
    for flag, value in needed_by.items():
        if value:
            return Choice("shuffle", f"strategy shuffle, required by {flag}")
    if settings.strategy != "auto":
        return Choice(settings.strategy, f"strategy {settings.strategy}, set by --strategy")
    rows = most_rows(files, columns, settings.interactions.format)
    return choose_by_size(rows, has_weights(columns, settings.rules), settings.broadcast_bytes)


def _item_ids(folder: RunFolder) -> pa.ChunkedArray:
    with storage.open_read(folder.path("items.parquet")) as file:
        return pq.read_table(pa.BufferReader(file.read()), columns=["item_id"])["item_id"]


def _base_notes(base: increment.Base | None, facts: dict[str, Any]) -> list[str]:
    if base is None:
        return []
    reason = facts["why_not"]
    return [f"recomputed in full: {reason}" if reason else f"added to the sums of {base.folder}"]


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


def _check(run: Run, facts: dict[str, Any], max_bad_fraction: float) -> None:
    """Raise BadInput if the input cannot be trusted, or if nothing is left of it."""
    reports = run.check_reports(facts, max_bad_fraction) + reports_of(facts, "base")
    # An increment stores weights even if the log has none, so only the times are compared with the base's.
    check_reports([dataclasses.replace(report, has_weight=False) for report in reports], 1.0)
    if facts.get("faults"):
        raise BadInput(facts["faults"][0])
    if not facts.get("items"):
        raise BadInput(
            "no interaction is left; loosen --since, --until, --min_weight, --half_life or the activity limits"
        )


def _counters(facts: dict[str, Any]) -> dict[str, int]:
    blocks = facts["neighbors"]
    return {
        **count_rows(reports_of(facts)),
        **{name: facts[name] for name in _FACTS},
        "pairs_scored": sum(pairs for _, _, pairs in blocks),
        "neighbors": sum(rows for _, rows, _ in blocks),
    }


def _export(folder: RunFolder, settings: CfSettings, card: dict[str, Any], export: Exporter) -> None:
    """Write the model to the working folder. TensorFlow writes to local disk, so a remote folder gets a copy."""
    progress.expect("models exported", 1)
    progress.advance("models exported", 0)
    with storage.local_copy(folder.work, ["items.parquet", "neighbors"]) as local:
        export(
            load_table(local),
            storage.join(local, "model"),
            serving_top_k=settings.serving_top_k,
            recency_half_life=settings.recency_half_life,
            model_card=card,
        )
        if local != folder.work:
            storage.copy_folder(storage.join(local, "model"), folder.path("model"))
    progress.advance("models exported", 1)
