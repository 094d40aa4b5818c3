"""Check what the pipeline of a run wrote, count it, and export the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.batch_cf import increment
from pipelines.batch_cf.options import CfSettings
from pipelines.batch_cf.table import load_table
from transforms import progress
from transforms.errors import BadInput
from transforms.files import storage
from transforms.interactions.reports import check_reports
from transforms.runs.facts import reports_of
from transforms.runs.run import Run, count_rows
from transforms.runs.run_folder import RunFolder

__all__ = ["PARTS", "Exporter", "check_facts", "count", "item_ids", "write_model"]

Exporter = Callable[..., None]
"""`export.saved_model.export_model`, or another function that takes its arguments."""

PARTS = ("neighbors", "items.parquet", "model", "dead_letters", increment.FOLDER)
"""Files and folders of the output."""
_FACTS = ("repeats", "zero_weight", "decayed", "of_limited_users", "users", "items", "interactions", "pair_work")
"""Facts that become counters. The first four are interactions that were left out, see `shards.Kept`."""


def check_facts(run: Run, facts: dict[str, Any], max_bad_fraction: float) -> None:
    """Raise BadInput if the input cannot be trusted, or if nothing is left of it."""
    reports = run.check_reports(facts, max_bad_fraction) + reports_of(facts, "base")
    # An increment stores weights even if the log has none, so only the times are compared with the base's.
    check_reports([dataclasses.replace(report, has_weight=False) for report in reports], 1.0)
    if facts.get("faults"):
        raise BadInput(facts["faults"][0])
    if not facts.get("items"):
        if facts.get("zero_weight"):
            raise BadInput(
                f"no interaction is left, {facts['zero_weight']:,} have weight 0; correct the weights, or name another "
                "--weight_column"
            )
        raise BadInput(
            "no interaction is left; loosen --since, --until, --min_weight, --half_life or the activity limits"
        )
    if not any(rows for _, rows, _ in facts["neighbors"]):
        run.warn(
            "no item has a neighbor, so the model recommends by popularity alone; pass a log in which users share items"
        )


def count(facts: dict[str, Any]) -> dict[str, int]:
    """Return the counters of run.json."""
    blocks = facts["neighbors"]
    return {
        **count_rows(reports_of(facts)),
        **{name: facts[name] for name in _FACTS},
        "pairs_scored": sum(pairs for _, _, pairs in blocks),
        "neighbors": sum(rows for _, rows, _ in blocks),
    }


def item_ids(folder: RunFolder) -> pa.ChunkedArray:
    """Return the ids of items.parquet."""
    with storage.open_read(folder.path("items.parquet")) as file:
        return pq.read_table(pa.BufferReader(file.read()), columns=["item_id"])["item_id"]


def write_model(folder: RunFolder, settings: CfSettings, card: dict[str, Any], export: Exporter) -> None:
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
