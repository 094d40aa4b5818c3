"""Run `experiment`: read the snapshot, count users where the logs are given, judge, print, and write the report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines.experiment.document import as_document
from pipelines.experiment.options import ExperimentSettings
from pipelines.experiment.pipeline import build
from pipelines.experiment.reading import bandit_named, read_snapshot
from pipelines.experiment.report import render
from pipelines.experiment.result import Experiment
from pipelines.experiment.sentence import sentence
from pipelines.experiment.terminal import print_experiment
from pipelines.experiment.user_sums import UserTotals, add_totals
from pipelines.experiment.verdict import group_names, judge
from transforms.attribution.bandits_file import read as read_bandits
from transforms.attribution.joined.join_decisions import check_join
from transforms.errors import BadInput, BadUsage
from transforms.files import storage
from transforms.runs.run import PipelineFactory, Run
from transforms.runs.run_folder import RunFolder
from transforms.runs.run_record import Artifact, describe_inputs

__all__ = ["experiment"]


def experiment(settings: ExperimentSettings, new_pipeline: PipelineFactory, clock: Callable[[], int]) -> str:
    """Judge the experiment and print the result. With `--output` write experiment.json and report.html.

    Args:
        settings: The checked command line.
        new_pipeline: Makes the pipeline that reads the logs.
        clock: Returns microseconds since 1970.

    Returns:
        The closing sentence, which is empty if nothing was written.

    Raises:
        BadUsage: The bandits file has no such bandit, or the output holds something else.
        BadInput: The bandits file, the snapshot or the logs cannot be used.
    """
    data, bandits = read_bandits(settings.bandits)
    bandit = bandit_named(bandits, settings.bandit_id, settings.bandits)
    published, snapshot = read_snapshot(settings.snapshots, bandit)
    if settings.base == "holdback" and bandit.holdback is None:
        raise BadUsage(f"--base=holdback: {bandit.bandit_id} has no holdback; add one to the bandits file")
    names = group_names(bandit, snapshot, settings.base)
    if not settings.run.output:
        _print(judge(bandit, snapshot, names, minimum_lift=settings.minimum_lift), settings)
        return ""
    run = Run("experiment", settings.run, new_pipeline, clock)
    digests = {settings.bandits: data, f"{settings.snapshots}/{bandit.bandit_id}/{published.version}": published.data}
    run.inputs += [Artifact(uri, len(each), hashlib.sha256(each).hexdigest()) for uri, each in digests.items()]
    files = [{file.uri: file.size_bytes for file in run.find_files(*each)} for each in _logs(settings)]
    for each in files:
        run.inputs += describe_inputs(each)
    output = settings.run.output
    if run.reuse():
        document = storage.read_json(storage.join(output, "experiment.json"))
        print(_one_line(document) if settings.as_json else document["sentence"])
        return f"{output}: already done"
    with run.open() as folder:
        users = None
        if files:
            users = _count_users(run, folder, settings, (data, bandit.bandit_id, names), files, clock())
        result = judge(bandit, snapshot, names, users, settings.minimum_lift)
        text = json.dumps(as_document(result), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        for name, content in (("experiment.json", text), ("report.html", render(result))):
            with storage.write_whole(folder.path(name)) as file:
                file.write(content.encode())
        counters = {"decisions": result.decisions, "users": 0 if users is None else users.users}
        run.commit(["experiment.json", "report.html", "dead_letters"], counters, result.notes)
    _print(result, settings)
    return f"look at {storage.join(output, 'report.html')}"


def _logs(settings: ExperimentSettings) -> list[tuple[Sequence[str], str]]:
    return [(settings.decisions, "--decisions"), (settings.rewards, "--rewards")] if settings.decisions else []


def _count_users(
    run: Run,
    folder: RunFolder,
    settings: ExperimentSettings,
    counted: tuple[bytes, str, Sequence[str]],
    files: Sequence[Mapping[str, int]],
    now_us: int,
) -> UserTotals:
    """Read the logs and return the totals of their users.

    Raises:
        BadInput: The logs cannot be used, or name no users of the bandit.
    """
    data, bandit_id, names = counted
    buckets = max(1, -(-sum(sum(each.values()) for each in files) // _BYTES_PER_BUCKET))
    with run.stage("count users", f"counting the users of {bandit_id}"):
        run.run_pipeline(
            lambda root: build(root, data, bandit_id, names, (files[0], files[1]), now_us, folder.work, buckets)
        )
    facts: dict[str, Any] = run.read_facts(folder.path("facts.json"))
    check_join(facts, settings.max_bad_fraction, storage.join(settings.run.output, "rejected"))
    if not facts.get("buckets"):
        raise BadInput(
            f"--decisions: no decision of {bandit_id} names a user (user_key); log user_key, or leave "
            "--decisions and --rewards out to take decisions as independent"
        )
    return add_totals(UserTotals.from_fact(fact) for _, fact in sorted(facts["buckets"], key=_bucket))


_BYTES_PER_BUCKET = 64 << 20
"""Log bytes per bucket of users. The users of a bucket take far less memory than their lines."""


def _bucket(part: tuple[int, Any]) -> int:
    return part[0]


def _one_line(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, ensure_ascii=False)


def _print(result: Experiment, settings: ExperimentSettings) -> None:
    if settings.as_json:
        print(_one_line(as_document(result)))
    else:
        print_experiment(result, sentence(result))
