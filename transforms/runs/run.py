"""One run of a batch pipeline, from its inputs to a committed folder and a published model.

A pipeline's run.py calls the methods of Run in this order:

    run = Run("my_pipeline", settings.run, new_pipeline, clock)
    files = run.find_files(settings.interactions.globs)
    reading, _ = run.resolve_columns(files, run.date(settings.interactions))
    run.add_inputs(files)
    if done := run.reuse():
        return done
    with run.open() as folder:
        with run.stage("pipeline"):
            run.run_pipeline(lambda root: build(root, files, reading.format))
        facts = run.read_facts(folder.path("facts.json"))
        reports = run.check_reports(facts, reading.max_bad_fraction)
        return run.commit(["part"], count_rows(reports))
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa

from transforms import progress
from transforms.errors import BadInput, BadUsage
from transforms.files import storage
from transforms.interactions.catalogue import Catalogue, read_items
from transforms.interactions.columns import Columns, describe_columns, use_columns
from transforms.interactions.files import InputFile, find, match
from transforms.interactions.options import InteractionSettings
from transforms.interactions.read import check_first
from transforms.interactions.reports import ROW_COUNTS, FileReport, check_reports, future_warning
from transforms.interactions.times import rfc3339
from transforms.models.publish import publish_run
from transforms.runs.facts import reports_of
from transforms.runs.run_folder import RunFolder, already_done, check_apart, open_folder
from transforms.runs.run_record import (
    Artifact,
    RunRecord,
    code_version,
    describe_inputs,
    new_run_id,
    parents_of,
)
from transforms.runs.settings import RunSettings

__all__ = ["BYTES_PER_SHARD", "MOST_SHARDS", "PipelineFactory", "Run", "RunResult", "count_rows", "shards_for"]

PipelineFactory = Callable[[], beam.Pipeline]
"""Makes an empty pipeline on the runner that the command line names."""

BYTES_PER_SHARD = 16 << 20
"""Input bytes per shard of users. Parquet grows about tenfold in memory, so a shard takes about 200 MB."""
MOST_SHARDS = 65_536
_FUTURE_SLACK_US = 24 * 3_600_000_000
"""How far a time may lie after the start of the run. A day covers clocks and dates of every time zone."""


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a run did.

    Args:
        record: The content of run.json. None for a worker that writes nothing because another one is the chief.
        reused: The output was already there.
        version: Version of the published model, None if nothing was published.
    """

    record: RunRecord | None
    reused: bool
    version: int | None


class Run:
    """One run of a batch pipeline.

    Args:
        pipeline: Name of the pipeline in run.json.
        settings: Where the run writes, and the options that run.json records.
        new_pipeline: Makes the pipelines of the run.
        clock: Returns microseconds since 1970.

    Raises:
        BadUsage: `--model_dir` is a file.
    """

    def __init__(
        self, pipeline: str, settings: RunSettings, new_pipeline: PipelineFactory, clock: Callable[[], int]
    ) -> None:
        model_dir = settings.model_dir
        if model_dir and storage.is_local(model_dir) and os.path.isfile(model_dir):
            raise BadUsage(f"--model_dir={model_dir}: is a file; name a folder")
        self.pipeline, self.settings = pipeline, settings
        now_us = clock()
        self.started_at, self.run_id = rfc3339(now_us), new_run_id(clock)
        self.as_of_us = now_us + _FUTURE_SLACK_US
        self.inputs: list[Artifact] = []
        self.timings: dict[str, float] = {}
        self._new_pipeline, self._clock = new_pipeline, clock
        self._catalogue: Catalogue | None = None
        self._catalogue_found = 0
        self._warnings: list[str] = []
        self._folder: RunFolder | None = None

    def date(self, reading: InteractionSettings) -> InteractionSettings:
        """Return the settings with the latest time that the run believes, which run.json records as `as_of`.

        It is `--as_of`, or 24 hours after the start of the run.
        """
        if reading.format.as_of_us is not None:
            self.as_of_us = reading.format.as_of_us
        return dataclasses.replace(reading, format=dataclasses.replace(reading.format, as_of_us=self.as_of_us))

    def find_files(self, globs: Sequence[str], flag: str = "--interactions") -> list[InputFile]:
        """Find the files that the patterns name. If several patterns name a file, the run warns and reads it once.

        Args:
            globs: Patterns of files or folders.
            flag: Flag whose value the patterns are, for errors.

        Returns:
            The files, sorted by uri.

        Raises:
            BadInput: A pattern names nothing.
            BadUsage: A file lies in the output folder.
        """
        files, repeated = find(globs, flag=flag)
        if repeated:
            more = f" and {len(repeated) - 1:,} more" if len(repeated) > 1 else ""
            self.warn(
                f"{repeated[0]}{more}: named more than once, by several patterns or links; each file is read once"
            )
        check_apart(self.settings.output, [file.uri for file in files])
        return files

    def resolve_columns(
        self, files: Sequence[InputFile], reading: InteractionSettings, times_for: Mapping[str, object] | None = None
    ) -> tuple[InteractionSettings, Columns]:
        """Choose the columns of the log by its first file, print their names, and record them as options.

        Args:
            files: The files of interactions.
            reading: The flags for reading them.
            times_for: Flags that need times, with their values. Flags without a value are ignored.

        Returns:
            The settings with the names of the columns, and the columns.

        Raises:
            BadInput: The first file cannot be read, lacks a column, or has no times but a flag needs them.
            BadUsage: Two columns could have one role.
        """
        columns = check_first(files, reading.format)
        for flag, value in (times_for or {}).items():
            if value and columns.timestamp is None:
                raise BadInput(
                    f"{files[0].uri}: has no times, which {flag} needs; pass --timestamp_column, or leave {flag} out"
                )
        if not columns.known:
            return reading, columns
        for line in describe_columns(columns):
            print(line, file=sys.stderr)
        self._record_options(
            user_column=columns.user,
            item_column=columns.item,
            timestamp_column=columns.timestamp,
            weight_column=columns.weight,
        )
        format = use_columns(reading.format, columns, files[0].uri)
        return dataclasses.replace(reading, format=format), columns

    def _record_options(self, **values: str | None) -> None:
        self.settings = dataclasses.replace(self.settings, options={**self.settings.options, **values})

    def add_inputs(self, files: Sequence[InputFile], items: str | None = None) -> None:
        """Add files, and the catalogue if there is one, to the inputs that run.json records with their digests."""
        others = match([items]) if items else []
        self.inputs += describe_inputs({file.uri: file.size_bytes for file in [*files, *others]})

    def reuse(self) -> RunResult | None:
        """Return the result of an earlier run with equal options and inputs, None without one.

        The model is published if `--model_dir` does not hold it yet.
        """
        settings = self.settings
        if settings.overwrite or not already_done(settings.output, self.pipeline, settings.options, self.inputs):
            return None
        record = RunRecord(**storage.read_json(storage.join(settings.output, "run.json")))
        return RunResult(record, reused=True, version=self._publish(record))

    def read_catalogue(self, reading: InteractionSettings) -> Catalogue | None:
        """Read the catalogue of `--items`, None without one, and record the names of its columns as options.

        `commit` adds its counts to the counters.
        """
        if reading.items:
            catalogue = read_items(
                reading.items,
                id_column=reading.items_id_column,
                title_column=reading.items_title_column,
                null_text=reading.format.null_text,
            )
            self._record_options(items_id_column=catalogue.id_column, items_title_column=catalogue.title_column)
            self._catalogue = catalogue
        return self._catalogue

    def compare_catalogue(self, item_ids: pa.Array | pa.ChunkedArray) -> None:
        """Count how many items of the log the catalogue has, and warn if it has none. Without a catalogue do nothing.

        `commit` adds the count to the counters as `catalogue_found`.

        Args:
            item_ids: Distinct ids of the log, at least one.
        """
        if self._catalogue is None:
            return
        self._catalogue_found = self._catalogue.count_found(item_ids)
        if not self._catalogue_found:
            self.warn(self._catalogue.explain_mismatch(item_ids))

    @contextlib.contextmanager
    def open(self) -> Iterator[RunFolder]:
        """Open the working folder, which is removed when the block ends.

        If the block raises BadInput, the dead letters stay in OUTPUT/rejected.
        """
        with open_folder(self.settings.output, self.run_id, self.settings.overwrite) as folder:
            self._folder = folder
            try:
                yield folder
            except BadInput:
                folder.keep_rejected("dead_letters")
                raise

    @contextlib.contextmanager
    def stage(self, name: str, what: str | None = None) -> Iterator[None]:
        """Time the block as a stage of run.json, and show its progress on a terminal.

        Args:
            name: Name of the stage in run.json.
            what: A phrase that is printed to stderr with the seconds when the stage ends. None prints nothing.
        """
        started = time.perf_counter()
        with self.display(what):
            yield
        self.timings[name] = time.perf_counter() - started
        if what:
            print(f"{what} ({self.timings[name]:.1f} s)", file=sys.stderr)

    @contextlib.contextmanager
    def display(self, title: str | None = None) -> Iterator[None]:
        """Show the progress of the block on a terminal, without timing it."""
        with progress.display(title or f"{self.pipeline} {self.run_id}"):
            yield

    def run_pipeline(self, build: Callable[[beam.Pipeline], None]) -> None:
        """Run a pipeline and wait for its end.

        Args:
            build: Adds the steps to an empty pipeline.
        """
        root = self._new_pipeline()
        build(root)
        root.run().wait_until_finish()
        del root
        gc.collect()  # an in-process pipeline leaves blocks in reference cycles: 200 MB for 6.5 M interactions
        pa.default_memory_pool().release_unused()

    def read_facts(self, uri: str) -> dict[str, Any]:
        """Read the facts that the workers wrote (see `transforms.runs.facts`)."""
        facts: dict[str, Any] = storage.read_json(uri)
        return facts

    def check_reports(self, facts: Mapping[str, Any], max_bad_fraction: float, origin: str = "new") -> list[FileReport]:
        """Check the file reports of one origin, and warn if more than 1% of the rows lie in the future.

        Args:
            facts: What the workers reported.
            max_bad_fraction: Largest share of rejected rows.
            origin: Which reports: `new`, or another name that the pipeline gave to `name_report`.

        Returns:
            The reports.

        Raises:
            BadInput: A file cannot be read, the files differ in their columns, or too many rows are bad.
        """
        reports = reports_of(facts, origin)
        check_reports(reports, max_bad_fraction, dead_letters=storage.join(self.settings.output, "rejected"))
        if warning := future_warning(reports, rfc3339(self.as_of_us)):
            self.warn(warning)
        return reports

    def warn(self, warning: str) -> None:
        """Print a sentence to stderr, and add it to the notes of run.json. A repeated sentence is skipped."""
        if warning not in self._warnings:
            self._warnings.append(warning)
            print(f"warning: {warning}", file=sys.stderr)

    def model_card(self, **facts: Any) -> dict[str, Any]:
        """Return the model card: which run made the model, `facts` about it, and the run's options."""
        start = {"pipeline": self.pipeline, "run_id": self.run_id, "trained_at": self.started_at}
        return {**start, **facts, "options": dict(self.settings.options)}

    def commit(
        self,
        parts: Sequence[str],
        counters: Mapping[str, int | float],
        notes: Sequence[str] = (),
        details: Mapping[str, Any] | None = None,
    ) -> RunResult:
        """Move parts of the working folder into place, write run.json last, and publish the model.

        Args:
            parts: Names of files and folders in the working folder. Those that do not exist are skipped.
            counters: Counts and scores for run.json.
            notes: What a person should know beside the counters.
            details: What the pipeline found out beside the counters, as JSON.

        Returns:
            The result, with the version of the published model.
        """
        assert self._folder is not None, "commit() is called within open()"
        catalogue = self._catalogue
        if catalogue is not None:
            counters = {
                **counters,
                "catalogue_items": len(catalogue.table),
                "catalogue_found": self._catalogue_found,
                "catalogue_duplicates": catalogue.duplicates,
                "catalogue_rejected": len(catalogue.rejected),
            }
        record = RunRecord(
            run_id=self.run_id,
            pipeline=self.pipeline,
            code_version=code_version(),
            started_at=self.started_at,
            options=self.settings.options,
            inputs=self.inputs,
            parents=parents_of([each.uri for each in self.inputs]),
            counters=counters,
            timings=self.timings,
            notes=[*self._warnings, *notes],
            details=dict(details or {}),
            as_of=rfc3339(self.as_of_us),
        )
        record = self._folder.commit(parts, record)
        return RunResult(record, reused=False, version=self._publish(record))

    def _publish(self, record: RunRecord) -> int | None:
        if not self.settings.model_dir:
            return None
        model = storage.join(self.settings.output, "model")
        return publish_run(model, self.settings.model_dir, record.run_id, self._clock)


def count_rows(reports: Sequence[FileReport]) -> dict[str, int]:
    """Return the sums of the reports' ROW_COUNTS by name."""
    return {name: sum(getattr(report, name) for report in reports) for name in ROW_COUNTS}


def shards_for(files: Sequence[InputFile]) -> int:
    """Return how many shards of users the files need."""
    read_bytes = sum(file.size_bytes for file in files)
    return min(MOST_SHARDS, max(1, -(-read_bytes // BYTES_PER_SHARD)))
