"""The features of a run: made by the pipeline once, found again by a run that goes on, checked before they are used."""

from __future__ import annotations

import dataclasses
import gc
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.vae_train import options as vae_options
from pipelines.vae_train.features.items import read_vocabulary
from pipelines.vae_train.features.side import write_sides
from pipelines.vae_train.pipeline import Job, build
from transforms.errors import BadInput, RecbeamError
from transforms.files import storage
from transforms.interactions.catalogue import Catalogue
from transforms.interactions.files import InputFile
from transforms.interactions.options import InteractionOptions, interaction_format
from transforms.interactions.read import FileReport, check_reports
from transforms.runs.command_line import pipeline_for
from transforms.runs.run_folder import RunFolder

__all__ = ["Features", "await_features", "make_features"]

_BYTES_PER_SHARD = 16 << 20
"""Input bytes behind a shard of users: Parquet grows some tenfold in memory, so a shard takes some 200 MB."""
_FACTS = "facts.json"
_POLL_S = 1.0


@dataclasses.dataclass(frozen=True)
class Features:
    """path: local folder with transform/, examples/, vocabulary.parquet. facts: counts, see steps.gather_facts."""

    path: str
    facts: dict[str, Any]

    @property
    def items(self) -> int:
        """Size of the vocabulary."""
        return int(self.facts["items"])


def make_features(
    options: Any,
    files: Sequence[InputFile],
    has_times: bool,
    catalogue: Catalogue | None,
    path: str,
    folder: RunFolder,
    *,
    refit: bool = False,
) -> Features:
    """Run the pipeline into `path`, unless it has run. refit: validation users train as well.

    folder: where a refused run's dead letters are kept. Raises BadInput where the input cannot be trusted or does not
    do for a model, BadUsage for side columns that the catalogue does not have.
    """
    if not _has_features(path):
        partial = f"{path}.partial"
        shutil.rmtree(partial, ignore_errors=True)  # of a killed run
        job = _job(options, files, has_times, catalogue, partial, refit)
        pipeline = pipeline_for(options)
        build(pipeline, job)
        pipeline.run().wait_until_finish()
        del pipeline
        gc.collect()  # an in-process run leaves its blocks in reference cycles
        pa.default_memory_pool().release_unused()
        shutil.rmtree(os.path.join(partial, "tft_temp"), ignore_errors=True)
        os.rename(partial, path)
    facts: dict[str, Any] = storage.read_json(os.path.join(path, _FACTS))
    _check(facts, path, options.view_as(InteractionOptions).max_bad_fraction, folder)
    return Features(path, facts)


def await_features(path: str, sleep: Callable[[float], None] = time.sleep, patience_s: float = 6 * 3600) -> Features:
    """The features that the chief of a group of workers makes.

    Raises RecbeamError after patience_s without any, and when the chief removes its workspace: the input is refused.
    """
    waited_s = 0.0
    begun = False
    while not _has_features(path):
        there = os.path.isdir(os.path.dirname(path))
        if begun and not there:
            raise RecbeamError(f"{path}: the chief gave up, its message says why")
        begun |= there
        if waited_s >= patience_s:
            raise RecbeamError(
                f"{path}: the chief made no features in {patience_s / 3600:g} hours; do all workers see this folder, "
                "and does the chief run the same command?"
            )
        sleep(_POLL_S)
        waited_s += _POLL_S
    return Features(path, storage.read_json(os.path.join(path, _FACTS)))


def _job(
    options: Any,
    files: Sequence[InputFile],
    has_times: bool,
    catalogue: Catalogue | None,
    path: str,
    refit: bool,
) -> Job:
    rules = vae_options.feature_rules(options)
    nothing = pa.table({"item_id": pa.array([], pa.string()), "available": pa.array([], pa.bool_())})
    known = nothing if catalogue is None else catalogue.table
    read_bytes = sum(file.size_bytes for file in files)
    return Job(
        files=files,
        format=interaction_format(options),
        rules=rules,
        split=vae_options.split_rule(options, has_times),
        folder=path,
        side_files=write_sides(known, rules.side_columns, os.path.join(path, "transform")),
        unavailable=known.filter(pc.invert(known["available"]))["item_id"].combine_chunks(),
        user_shards=min(65_536, max(1, math.ceil(read_bytes / _BYTES_PER_SHARD))),
        analyze_all=refit,
    )


def _has_features(path: str) -> bool:
    """Whether an earlier run has made them: the folder appears by rename."""
    return os.path.isfile(os.path.join(path, _FACTS))


def _check(facts: dict[str, Any], path: str, max_bad_fraction: float, folder: RunFolder) -> None:
    reports = [FileReport(*report) for report in facts["new_reports"]]
    letters = os.path.join(path, "dead_letters")
    try:
        check_reports(reports, max_bad_fraction, dead_letters=storage.join(folder.output, "rejected"))
    except BadInput:
        if os.path.isdir(letters):
            storage.copy_folder(letters, folder.path("dead_letters"))
            folder.keep_rejected("dead_letters")
        raise
    if facts["faults"]:
        raise BadInput(facts["faults"][0])
    if not read_vocabulary(path).available.any():
        raise BadInput("--items says of every item in the log that it is not available; nothing could be recommended")
