"""Run interactions, from its settings to a committed folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines.interactions.options import LogSettings
from pipelines.interactions.pipeline import Job, build
from pipelines.interactions.rows import OUTCOMES
from transforms.attribution.joined.join_decisions import check_join
from transforms.errors import BadInput
from transforms.files import storage
from transforms.interactions.files import InputFile
from transforms.runs.run import PipelineFactory, Run, RunResult

__all__ = ["run"]

_COUNTS = (*OUTCOMES, "from_holdback", "records_read", "malformed", "future", "duplicate", "orphan")


def run(settings: LogSettings, new_pipeline: PipelineFactory, clock: Callable[[], int]) -> RunResult:
    """Write OUTPUT/interactions.

    Args:
        settings: The checked command line.
        new_pipeline: Makes the pipeline.
        clock: Returns microseconds since 1970.

    Returns:
        What the run did.

    Raises:
        BadUsage: The settings contradict the output.
        BadInput: The logs cannot be used, or hold no interaction.
    """
    run = Run("interactions", settings.run, new_pipeline, clock)
    decisions = run.find_files(settings.decisions, "--decisions")
    rewards = run.find_files(settings.rewards, "--rewards")
    run.add_inputs([*decisions, *rewards])
    if done := run.reuse():
        return done
    with run.open() as folder:
        job = Job(_sizes(decisions), _sizes(rewards), settings.kinds, clock(), folder.work)
        with run.stage("pipeline"):
            run.run_pipeline(lambda root: build(root, job))
        facts = run.read_facts(folder.path("facts.json"))
        check_join(facts, settings.max_bad_fraction, storage.join(settings.run.output, "rejected"))
        kinds = _kinds(facts)
        _check(facts, kinds, settings.kinds)
        counters = {name: facts.get(name, 0) for name in _COUNTS}
        counters["rows_rejected"] = counters["malformed"] + counters["future"]
        return run.commit(["interactions", "dead_letters"], counters, details={"kinds": kinds})


def _sizes(files: Sequence[InputFile]) -> dict[str, int]:
    return {file.uri: file.size_bytes for file in files}


def _kinds(facts: Mapping[str, Any]) -> dict[str, int]:
    """Return how many rewards there are, by kind."""
    return {name.removeprefix("kind:"): facts[name] for name in sorted(facts) if name.startswith("kind:")}


def _check(facts: Mapping[str, Any], kinds: Mapping[str, int], wanted: frozenset[str]) -> None:
    if facts.get("interactions"):
        return
    names = ", ".join(sorted(wanted))
    if not wanted & set(kinds):
        raise BadInput(
            f"--kinds={names}: no reward with a decision has such a kind; the log has {', '.join(kinds) or 'none'}"
        )
    lacking = ", ".join(f"{facts[name]:,} {name}" for name in OUTCOMES if facts.get(name))
    raise BadInput(
        f"--kinds={names}: no reward is an interaction ({lacking}); log user_key, item_id and a value above 0"
    )
