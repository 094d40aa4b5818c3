"""One run of batch_cf, from checked options to a committed folder: all that happens around the pipeline."""

from __future__ import annotations

import dataclasses
import json
import math
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
from transforms import progress, storage
from transforms.command_line import pipeline_for
from transforms.errors import BadInput
from transforms.interactions.catalogue import read_items
from transforms.interactions.files import InputFile, match
from transforms.interactions.options import InteractionOptions, interaction_format, interaction_globs
from transforms.interactions.read import FileReport, check_first, check_reports
from transforms.publish import publish
from transforms.run_folder import RunFolder, already_done, open_folder
from transforms.run_record import Artifact, RunRecord, code_version, describe_inputs, new_run_id, parents_of, rfc3339

__all__ = ["Exporter", "Outcome", "run"]

Exporter = Callable[..., None]
"""`export.saved_model.export_model`, or another that takes its arguments."""

_BYTES_PER_SHARD = 8 << 20
"""Input bytes behind a shard of users: Parquet grows some tenfold in memory, so a shard takes some 100 MB."""


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
    files = match(interaction_globs(options))
    items_files = match([reading.items]) if reading.items else []
    format = interaction_format(options)
    check_first(files, format)
    inputs = describe_inputs({file.uri: file.size_bytes for file in [*files, *items_files]})
    defining = cf_options.defining(options)
    if not view.overwrite and already_done(view.output, "batch_cf", defining, inputs):
        record = storage.read_json(storage.join(view.output, "run.json"))
        return Outcome(RunRecord(**record), reused=True, version=None)
    catalogue = None
    if reading.items:
        catalogue = read_items(
            reading.items, id_column=reading.items_id_column, title_column=reading.items_title_column
        ).table
    base = _open_base(options) if view.base else None
    run_id = new_run_id(clock)
    folder = open_folder(view.output, run_id, view.overwrite)
    try:
        job = _job(options, files, folder, catalogue, base)
        timings["prepare"] = time.perf_counter() - tick
        tick = time.perf_counter()
        with progress.display(f"batch_cf {run_id}"):
            pipeline = pipeline_for(options)
            build(pipeline, job)
            pipeline.run().wait_until_finish()
            timings["pipeline"] = time.perf_counter() - tick
            tick = time.perf_counter()
            facts = _facts(folder, reading.max_bad_fraction, view.output)
            record = _record(run_id, started_us, options, inputs, facts, base)
            _export(folder, options, record, export)
            timings["export"] = time.perf_counter() - tick
        parts = ["neighbors", "items.parquet", "model", "dead_letters", increment.FOLDER]
        record = folder.commit(parts, dataclasses.replace(record, timings=timings))
    except BaseException:
        folder.discard()
        raise
    return Outcome(record, reused=False, version=_publish(options, clock))


def _record(
    run_id: str,
    started_us: int,
    options: PipelineOptions,
    inputs: Sequence[Artifact],
    facts: dict[str, Any],
    base: increment.Base | None,
) -> RunRecord:
    sources = [each.uri for each in inputs] + ([base.folder] if base else [])
    return RunRecord(
        run_id=run_id,
        pipeline="batch_cf",
        code_version=code_version(),
        started_at=rfc3339(started_us),
        options=cf_options.defining(options),
        inputs=inputs,
        parents=parents_of(sources),
        counters=_counters(facts),
        notes=_notes(facts, base),
    )


def _publish(options: PipelineOptions, clock: Callable[[], int]) -> int | None:
    view = options.view_as(CfOptions)
    if not view.model_dir:
        return None
    return publish(storage.join(view.output, "model"), view.model_dir, clock)


def _job(
    options: PipelineOptions,
    files: list[InputFile],
    folder: RunFolder,
    catalogue: pa.Table | None,
    base: increment.Base | None,
) -> Job:
    view = options.view_as(CfOptions)
    nothing = pa.table({"item_id": pa.array([], pa.string()), "title": pa.array([], pa.string())})
    titles = nothing if catalogue is None else catalogue.select(["item_id", "title"])
    unavailable = (
        nothing["item_id"] if catalogue is None else catalogue.filter(pc.invert(catalogue["available"]))["item_id"]
    )
    read_bytes = sum(file.size_bytes for file in [*files, *(base.files if base else ())])
    format, rules = interaction_format(options), cf_options.history_rules(options)
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


def _facts(folder: RunFolder, max_bad_fraction: float, output: str) -> dict[str, Any]:
    """What the workers reported. Raises BadInput where the input cannot be trusted or nothing is left of it."""
    with storage.open_read(folder.path("facts.json")) as file:
        facts: dict[str, Any] = json.loads(file.read())
    reports = [FileReport(*report) for report in facts["new_reports"]]
    try:
        check_reports(reports, max_bad_fraction, dead_letters=f"{output}/rejected")
    except BadInput:
        _keep_dead_letters(folder)
        raise
    check_reports(reports + [FileReport(*report) for report in facts.get("base_reports", [])], 1.0)
    if facts.get("faults"):
        raise BadInput(facts["faults"][0])
    if not facts.get("items"):
        raise BadInput("no interaction is left; loosen --since, --until, --min_weight or the activity limits")
    return facts


def _keep_dead_letters(folder: RunFolder) -> None:
    """A refused run leaves its dead letters in output/rejected, since they say why."""
    for uri in storage.list_files(folder.path("dead_letters", "*")):
        name = uri.rsplit("/", 1)[-1]
        storage.make_folder(storage.join(folder.output, "rejected"))
        storage.move(uri, storage.join(folder.output, "rejected", name))


def _counters(facts: dict[str, Any]) -> dict[str, int]:
    reports = [FileReport(*report) for report in facts["new_reports"]]
    blocks = facts["neighbors"]
    return {
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


def _notes(facts: dict[str, Any], base: increment.Base | None) -> list[str]:
    notes = [f"strategy {facts['strategy'][0]}"]
    if base is not None:
        notes.append(
            f"recomputed in full: {base.recompute}" if base.recompute else f"added to the sums of {base.folder}"
        )
    return notes


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
