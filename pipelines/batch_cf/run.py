"""One run of batch_cf, from checked options to a committed folder: all that happens around the pipeline."""

from __future__ import annotations

import dataclasses
import gc
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.batch_cf import increment
from pipelines.batch_cf import options as cf_options
from pipelines.batch_cf.export.saved_model import export_model
from pipelines.batch_cf.options import CfOptions
from pipelines.batch_cf.pipeline import Job, build
from pipelines.batch_cf.table import load_table
from transforms import progress
from transforms.errors import BadInput, BadUsage
from transforms.files import storage
from transforms.interactions.catalogue import Catalogue, read_items
from transforms.interactions.files import InputFile, match
from transforms.interactions.format import InteractionFormat
from transforms.interactions.options import InteractionOptions, interaction_format, interaction_globs
from transforms.interactions.read import FileReport, check_first, check_reports
from transforms.models.publish import publish_run
from transforms.runs.command_line import pipeline_for
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

__all__ = ["Exporter", "Outcome", "run"]

Exporter = Callable[..., None]
"""`export.saved_model.export_model`, or another that takes its arguments."""

_BYTES_PER_SHARD = 16 << 20
"""Input bytes behind a shard of users: Parquet grows some tenfold in memory, so a shard takes some 200 MB."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run did. record: its run.json. version: of the published model, None if not published."""

    record: RunRecord
    reused: bool
    version: int | None


def run(options: PipelineOptions, clock: Callable[[], int], export: Exporter = export_model) -> Outcome:
    """Carry out checked options. clock: microseconds since 1970. export: writes the servable model.

    Raises BadUsage, BadInput; then the output folder is as it was before.
    """
    view, reading = options.view_as(CfOptions), options.view_as(InteractionOptions)
    timings: dict[str, float] = {}
    started_us, tick = clock(), time.perf_counter()
    files, inputs = _inputs(options)
    defining = cf_options.defining(options)
    if not view.overwrite and already_done(view.output, "batch_cf", defining, inputs):
        record = RunRecord(**storage.read_json(storage.join(view.output, "run.json")))
        return Outcome(record, reused=True, version=_publish(options, record, clock))
    catalogue = None
    if reading.items:
        catalogue = read_items(
            reading.items, id_column=reading.items_id_column, title_column=reading.items_title_column
        )
    base = _open_base(options) if view.base else None
    run_id = new_run_id(clock)
    with open_folder(view.output, run_id, view.overwrite) as folder, progress.display(f"batch_cf {run_id}"):
        job = _job(options, files, folder, catalogue, base)
        timings["prepare"] = time.perf_counter() - tick
        tick = time.perf_counter()
        _run_pipeline(options, job)
        timings["pipeline"] = time.perf_counter() - tick
        tick = time.perf_counter()
        facts = _facts(folder, reading.max_bad_fraction)
        record = _record(run_id, started_us, options, inputs, facts, catalogue)
        _export(folder, options, record, export)
        timings["export"] = time.perf_counter() - tick
        parts = ["neighbors", "items.parquet", "model", "dead_letters", increment.FOLDER]
        record = folder.commit(parts, dataclasses.replace(record, timings=timings))
    return Outcome(record, reused=False, version=_publish(options, record, clock))


def _run_pipeline(options: PipelineOptions, job: Job) -> None:
    pipeline = pipeline_for(options)
    build(pipeline, job)
    pipeline.run().wait_until_finish()
    del pipeline
    gc.collect()  # an in-process run leaves its matrix in reference cycles, 200 MB of 6.5 M interactions at the export
    pa.default_memory_pool().release_unused()


def _inputs(options: PipelineOptions) -> tuple[list[InputFile], list[Artifact]]:
    """The files of interactions, and everything the output depends on, a base's own inputs included.

    Raises BadUsage, BadInput for what can be told before any work.
    """
    view, reading = options.view_as(CfOptions), options.view_as(InteractionOptions)
    files = match(interaction_globs(options), options)
    check_apart(view.output, [file.uri for file in files])
    if view.model_dir and storage.is_local(view.model_dir) and os.path.isfile(view.model_dir):
        raise BadUsage(f"--model_dir={view.model_dir}: is a file; name a folder")
    check_first(files, _format(options))
    others = match([reading.items], options) if reading.items else []
    inputs = describe_inputs({file.uri: file.size_bytes for file in [*files, *others]})
    if view.base:
        record_uri = storage.join(view.base, "run.json")
        record = storage.read_json(record_uri) or {}
        inputs += [Artifact(**each) for each in record.get("inputs", [])]
        inputs += describe_inputs(storage.list_files(record_uri))
    return files, inputs


def _format(options: PipelineOptions) -> InteractionFormat:
    """How to read; decay makes the time column required."""
    format = interaction_format(options)
    if options.view_as(CfOptions).half_life is None or format.timestamp_column is not None:
        return format
    return dataclasses.replace(format, timestamp_column="timestamp")


def _record(
    run_id: str,
    started_us: int,
    options: PipelineOptions,
    inputs: Sequence[Artifact],
    facts: dict[str, Any],
    catalogue: Catalogue | None,
) -> RunRecord:
    return RunRecord(
        run_id=run_id,
        pipeline="batch_cf",
        code_version=code_version(),
        started_at=rfc3339(started_us),
        options=cf_options.defining(options),
        inputs=inputs,
        parents=parents_of([each.uri for each in inputs]),
        counters=_counters(facts, catalogue),
        notes=sorted(facts["notes"]),
    )


def _publish(options: PipelineOptions, record: RunRecord, clock: Callable[[], int]) -> int | None:
    view = options.view_as(CfOptions)
    if not view.model_dir:
        return None
    return publish_run(storage.join(view.output, "model"), view.model_dir, record.run_id, clock)


def _job(
    options: PipelineOptions,
    files: list[InputFile],
    folder: RunFolder,
    catalogue: Catalogue | None,
    base: increment.Base | None,
) -> Job:
    view = options.view_as(CfOptions)
    nothing = pa.table({"item_id": pa.array([], pa.string()), "title": pa.array([], pa.string())})
    known = nothing if catalogue is None else catalogue.table
    titles = known.select(["item_id", "title"])
    unavailable = nothing["item_id"] if catalogue is None else known.filter(pc.invert(known["available"]))["item_id"]
    read_bytes = sum(file.size_bytes for file in [*files, *(base.files if base else ())])
    format, rules = _format(options), cf_options.history_rules(options)
    return Job(
        files=files,
        format=format,
        rules=rules,
        measure=cf_options.measure(options),
        folder=folder.work,
        titles=titles,
        unavailable=unavailable.combine_chunks(),
        until_us=format.until_us,
        shards=view.user_shards or min(65_536, max(1, math.ceil(read_bytes / _BYTES_PER_SHARD))),
        strategy="shuffle" if view.keep_increment or view.base else view.strategy,
        broadcast_bytes=view.broadcast_limit_mb << 20,
        threads=view.compute_threads,
        base=base,
        keep_increment=_shapes(options) if view.keep_increment else None,
    )


def _shapes(options: PipelineOptions) -> dict[str, Any]:
    """The options that shaped what an increment stores: its interactions, and its sums."""
    view, reading, rules = (
        options.view_as(CfOptions),
        options.view_as(InteractionOptions),
        cf_options.history_rules(options),
    )
    return {
        "stored_by": {
            "--dedupe": view.dedupe,
            "--half_life": view.half_life if view.dedupe in ("sum", "max") else None,
            "--min_weight": reading.min_weight,
            "--since": reading.since,
            "--until": reading.until,
        },
        "summed_by": {
            "--half_life": view.half_life,
            "--min_item_users": rules.min_item_users,
            "--max_item_users": rules.max_item_users,
            "--similarity (counted or weighted)": rules.binary,
            "the weight of a user": cf_options.measure(options).user_exponent,
            "--min_user_items": rules.min_user_items,
            "--max_user_items": rules.max_user_items,
            "--max_items_per_user": rules.max_items_per_user,
            "--seed": rules.seed,
        },
    }


def _open_base(options: PipelineOptions) -> increment.Base:
    view, rules = options.view_as(CfOptions), cf_options.history_rules(options)
    moves_all = None
    if rules.half_life_us is not None:
        moves_all = "--half_life moves the weight of every user"
    elif rules.min_item_users > 1 or rules.max_item_users is not None:
        moves_all = "--min_item_users and --max_item_users may move every history"
    shapes = _shapes(options)
    return increment.open_base(view.base, shapes["stored_by"], shapes["summed_by"], moves_all)


def _facts(folder: RunFolder, max_bad_fraction: float) -> dict[str, Any]:
    """What the workers reported. Raises BadInput where the input cannot be trusted or nothing is left of it."""
    facts: dict[str, Any] = storage.read_json(folder.path("facts.json"))
    reports = [FileReport(*report) for report in facts["new_reports"]]
    stored = [FileReport(*report) for report in facts.get("base_reports", [])]
    try:
        check_reports(reports, max_bad_fraction, dead_letters=storage.join(folder.output, "rejected"))
    except BadInput:
        folder.keep_rejected("dead_letters")
        raise
    # A sum stores weights where the log had none, which does not matter; a time that only one side has does.
    check_reports([dataclasses.replace(report, has_weight=False) for report in reports + stored], 1.0)
    if facts.get("faults"):
        raise BadInput(facts["faults"][0])
    if not facts.get("items"):
        raise BadInput("no interaction is left; loosen --since, --until, --min_weight or the activity limits")
    return facts


def _counters(facts: dict[str, Any], catalogue: Catalogue | None) -> dict[str, int]:
    reports = [FileReport(*report) for report in facts["new_reports"]]
    blocks = facts["neighbors"]
    counters = {
        "rows_read": sum(report.rows_read for report in reports),
        "rows_rejected": sum(report.rows_rejected for report in reports),
        "rows_filtered": sum(report.rows_filtered for report in reports),
        "users": facts["users"],
        "items": facts["items"],
        "interactions": facts["interactions"],
        "pair_work": facts["pair_work"],
        "pairs_scored": sum(pairs for _, _, pairs in blocks),
        "neighbors": sum(rows for _, rows, _ in blocks),
    }
    if catalogue is not None:
        counters["catalogue_items"] = len(catalogue.table)
        counters["catalogue_duplicates"] = catalogue.duplicates
        counters["catalogue_rejected"] = len(catalogue.rejected)
    return counters


def _export(folder: RunFolder, options: PipelineOptions, record: RunRecord, export: Exporter) -> None:
    """Write the model to the working folder; TensorFlow writes to local disk, so a remote folder takes a detour."""
    view = options.view_as(CfOptions)
    card = {
        "pipeline": record.pipeline,
        "run_id": record.run_id,
        "trained_at": record.started_at,
        "similarity": view.similarity,
        "items": record.counters["items"],
        "users": record.counters["users"],
        "interactions": record.counters["interactions"],
        "options": dict(record.options),
    }
    progress.expect("models exported", 1)
    progress.advance("models exported", 0)
    with storage.local_copy(folder.work, ["items.parquet", "neighbors"]) as local:
        export(
            load_table(local),
            storage.join(local, "model"),
            serving_top_k=view.serving_top_k,
            recency_half_life=view.recency_half_life,
            model_card=card,
        )
        if local != folder.work:
            storage.copy_folder(storage.join(local, "model"), folder.path("model"))
    progress.advance("models exported", 1)
