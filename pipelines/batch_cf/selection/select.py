"""Find the measure of a run: from its flags, from an earlier run, or by validation."""

from __future__ import annotations

import dataclasses

import pyarrow as pa

from pipelines.batch_cf.options import CfSettings
from pipelines.batch_cf.selection.candidates import EASE_ITEMS
from pipelines.batch_cf.selection.choice import Chosen, choose, explicit, read_choice
from pipelines.batch_cf.selection.pipeline import SelectionJob, build
from transforms.errors import BadUsage
from transforms.interactions.files import InputFile
from transforms.runs.run import Run
from transforms.runs.run_folder import RunFolder

__all__ = ["apply", "given_choice", "select"]


def given_choice(settings: CfSettings) -> Chosen | None:
    """Return the choice that needs no validation: that of the flags, of `--base` or of `--similarity_from`.

    Raises:
        BadUsage: The earlier run records no choice.
    """
    search = settings.search
    if search is None:
        return explicit(settings.measure, not settings.rules.binary)
    if settings.base is not None:
        return read_choice(settings.base, "--base")
    return None if search.origin is None else read_choice(search.origin, "--similarity_from")


def select(
    run: Run, settings: CfSettings, files: list[InputFile], folder: RunFolder, unavailable: pa.StringArray
) -> Chosen:
    """Validate the candidates on a sample, and choose.

    Args:
        run: The run, before its own pipeline.
        settings: Settings with a search.
        files: The input.
        folder: The working folder.
        unavailable: Item ids that are never recommended.

    Raises:
        BadUsage: A parameter is fixed that no candidate takes.
    """
    search = settings.search
    assert search is not None, "the flags name a measure"
    job = SelectionJob(
        files=files,
        format=settings.interactions.format,
        rules=dataclasses.replace(settings.rules, binary=False),
        search=search,
        unavailable=unavailable,
        until_us=settings.interactions.format.until_us,
        threads=settings.compute_threads,
        facts_uri=folder.path("selection.json"),
    )
    run.run_pipeline(lambda root: build(root, job))
    facts = run.read_facts(job.facts_uri)
    candidates = search.candidates(facts["items"], facts["weights_differ"])
    if unused := search.unused(candidates):
        raise BadUsage(
            f"--{unused[0]} has no effect: of the candidates of --similarity=auto only ease takes it, and ease is a "
            f"candidate up to {EASE_ITEMS:,} items (the log has {facts['items']:,}); leave out --{unused[0]}, or pass "
            "--similarity=ease"
        )
    scores = dict(facts["scores"])
    chosen = choose(candidates, [scores[place] for place in range(len(candidates))], facts["sample"])
    if not any(score for _, score in chosen.table):
        run.warn(
            "--similarity=auto compared nothing: no candidate found a held-out item of the "
            f"{facts['sample']['validation_users']:,} validation users, so the first candidate is used"
        )
    return chosen


def apply(settings: CfSettings, chosen: Chosen) -> CfSettings:
    """Return the settings of a run whose flags name the chosen measure."""
    measure, weighted = chosen.candidate.measure, chosen.candidate.weighted
    binary = measure.similarity.binary or not weighted
    return dataclasses.replace(settings, measure=measure, rules=dataclasses.replace(settings.rules, binary=binary))
