"""Make the features of a run once, reuse them in a run that continues, and check them before use."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.vae_train.features.items import read_vocabulary
from pipelines.vae_train.features.side import write_sides
from pipelines.vae_train.options import VaeSettings
from pipelines.vae_train.pipeline import Job, build
from transforms.errors import BadInput, RecbeamError
from transforms.files import storage
from transforms.interactions.catalogue import Catalogue
from transforms.interactions.files import InputFile
from transforms.runs.run import Run, shards_for
from transforms.runs.run_folder import RunFolder

__all__ = ["Features", "await_features", "make_features"]

_FACTS = "facts.json"
_POLL_S = 1.0


@dataclasses.dataclass(frozen=True)
class Features:
    """The features of a run.

    Args:
        path: Local folder with transform/, examples/ and vocabulary.parquet.
        facts: Counts, see steps.gather_facts.
    """

    path: str
    facts: dict[str, Any]

    @property
    def items(self) -> int:
        """Return the size of the vocabulary."""
        return int(self.facts["items"])


def make_features(
    run: Run,
    settings: VaeSettings,
    files: Sequence[InputFile],
    has_times: bool,
    catalogue: Catalogue | None,
    path: str,
    folder: RunFolder,
    *,
    refit: bool = False,
) -> Features:
    """Run the pipeline into `path`, unless an earlier run has done so.

    Args:
        run: The run that needs the features.
        settings: The checked command line.
        files: The interactions.
        has_times: Whether the log has times.
        catalogue: The catalogue of items, None without one.
        path: Local folder of the features.
        folder: Working folder of the run. It gets the dead letters of a refused input.
        refit: Validation users train as well.

    Returns:
        The features.

    Raises:
        BadInput: The input cannot be trusted, or no model can be trained on it.
        BadUsage: The catalogue lacks a side column.
    """
    if not _has_features(path):
        partial = f"{path}.partial"
        shutil.rmtree(partial, ignore_errors=True)  # of a killed run
        job = _job(settings, files, has_times, catalogue, partial, run.as_of_us, refit)
        run.run_pipeline(lambda root: build(root, job))
        shutil.rmtree(os.path.join(partial, "tft_temp"), ignore_errors=True)
        os.rename(partial, path)
    else:
        print(f"{run.pipeline}: takes the features of the interrupted run from {path}", file=sys.stderr)
    facts = run.read_facts(os.path.join(path, _FACTS))
    run.as_of_us = facts["as_of_us"]  # of the killed run, if that made the features
    try:
        _check(run, facts, path, settings.interactions.max_bad_fraction)
    except BadInput:
        letters = os.path.join(path, "dead_letters")
        if os.path.isdir(letters):
            storage.copy_folder(letters, folder.path("dead_letters"))
        raise
    return Features(path, facts)


def await_features(path: str, sleep: Callable[[float], None] = time.sleep, patience_s: float = 6 * 3600) -> Features:
    """Wait for the features that the chief of a group of workers makes.

    Args:
        path: Local folder of the features.
        sleep: Waits for a number of seconds.
        patience_s: Longest time to wait in seconds.

    Returns:
        The features.

    Raises:
        RecbeamError: There are no features after patience_s, or the chief refused the input and removed its workspace.
    """
    waited_s = 0.0
    begun = False
    while not _has_features(path):
        there = os.path.isdir(os.path.dirname(path))
        if begun and not there:
            raise RecbeamError(f"{path}: the chief stopped; its own message gives the reason")
        begun |= there
        if waited_s >= patience_s:
            raise RecbeamError(
                f"{path}: the chief wrote no features in {patience_s / 3600:g} hours; check that all workers see this "
                "folder and that the chief runs the same command"
            )
        sleep(_POLL_S)
        waited_s += _POLL_S
    return Features(path, storage.read_json(os.path.join(path, _FACTS)))


def _job(
    settings: VaeSettings,
    files: Sequence[InputFile],
    has_times: bool,
    catalogue: Catalogue | None,
    path: str,
    as_of_us: int,
    refit: bool,
) -> Job:
    nothing = pa.table({"item_id": pa.array([], pa.string()), "available": pa.array([], pa.bool_())})
    known = nothing if catalogue is None else catalogue.table
    return Job(
        files=files,
        format=dataclasses.replace(settings.interactions.format, as_of_us=as_of_us),
        rules=settings.rules,
        split=settings.split_rule(has_times),
        folder=path,
        side_files=write_sides(known, settings.rules.side_columns, os.path.join(path, "transform")),
        unavailable=known.filter(pc.invert(known["available"]))["item_id"].combine_chunks(),
        user_shards=shards_for(files),
        analyze_all=refit,
    )


def _has_features(path: str) -> bool:
    """Return whether an earlier run has made the features. The folder appears by rename, so it is complete."""
    return os.path.isfile(os.path.join(path, _FACTS))


def _check(run: Run, facts: dict[str, Any], path: str, max_bad_fraction: float) -> None:
    run.check_reports(facts, max_bad_fraction)
    if facts["faults"]:
        raise BadInput(facts["faults"][0])
    vocabulary = read_vocabulary(path)
    run.compare_catalogue(vocabulary.ids)
    if not vocabulary.available.any():
        raise BadInput("--items marks every item of the log as not available; correct its column available")
