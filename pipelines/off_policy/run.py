"""Run `off-policy`, from its settings to a committed folder and a verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines.off_policy.options import OffPolicySettings
from pipelines.off_policy.pipeline import build
from pipelines.off_policy.policy_files import read_target
from pipelines.off_policy.report import render
from pipelines.off_policy.selection import LEFT_OUT, Selection
from pipelines.off_policy.summary import Evaluation, summarize, to_json
from pipelines.off_policy.sums import Sums
from pipelines.off_policy.terminal import print_evaluation
from serving_client.contracts.bandits import Bandit, Bandits
from transforms.attribution import bandits_file
from transforms.attribution.joined.join_decisions import check_join
from transforms.errors import BadInput, BadUsage, Refused
from transforms.files import storage
from transforms.interactions.files import InputFile, match
from transforms.runs.run import PipelineFactory, Run

__all__ = ["run"]

_LEAST_DECISIONS = 2
_JOIN_COUNTS = ("records_read", "malformed", "future", "orphan", "duplicate", "conflicting_duplicates")


def run(settings: OffPolicySettings, new_pipeline: PipelineFactory, clock: Callable[[], int]) -> str:
    """Write OUTPUT/estimates.json and OUTPUT/report.html, then accept or refuse the estimates.

    Args:
        settings: The checked command line.
        new_pipeline: Makes the pipeline.
        clock: Returns microseconds since 1970.

    Returns:
        The closing sentence.

    Raises:
        BadUsage: The settings contradict the bandits file, the policy or the output.
        BadInput: The input cannot be used.
        Refused: The log says too little about the policy.
    """
    data, bandits = bandits_file.read(settings.bandits)
    bandit = _bandit(bandits, settings)
    target = read_target(settings.policy, bandit, settings.snapshot)
    by_user = bandit.sticky if settings.cluster is None else settings.cluster == "user_key"
    run = Run("off_policy", settings.run, new_pipeline, clock)
    decisions = run.find_files(settings.decisions, "--decisions")
    rewards = run.find_files(settings.rewards, "--rewards")
    files = [settings.bandits, settings.snapshot, None if settings.policy.startswith("arm:") else settings.policy]
    run.add_inputs([*decisions, *rewards, *match(sorted({name for name in files if name}))])
    output = settings.run.output
    if run.reuse():
        _refuse(storage.read_json(storage.join(output, "estimates.json"))["refused"])
        return f"{output}: already done"

    selection = Selection(bandit.bandit_id, by_user, settings.exclude_fallbacks, target.needs_context)
    with run.open() as folder:
        with run.stage("pipeline", "joining rewards to decisions and weighing the decisions"):
            logs = _sizes(decisions), _sizes(rewards)
            places = (settings.seed, clock(), folder.work)
            run.run_pipeline(lambda root: build(root, data, logs, selection, target, *places))
        facts = run.read_facts(folder.path("facts.json"))
        check_join(facts, settings.max_bad_fraction, storage.join(output, "rejected"))
        sums = storage.read_json(folder.path("sums.json"))
        result = _evaluation(settings, bandit, facts, sums, target.name, by_user)
        text = json.dumps(to_json(result), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        for name, content in (("estimates.json", text), ("report.html", render(result))):
            with storage.write_whole(folder.path(name)) as file:
                file.write(content.encode())
        counters = {"decisions": result.decisions, **result.counts, "ess": round(result.found.ess, 1)}
        run.commit(["estimates.json", "report.html", "dead_letters"], counters, result.notes)
    print_evaluation(result)
    _refuse(result.refused)
    return f"look at {storage.join(output, 'report.html')}"


def _bandit(bandits: Bandits, settings: OffPolicySettings) -> Bandit:
    names = ", ".join(bandits.bandits)
    if settings.bandit is None:
        if len(bandits.bandits) > 1:
            raise BadUsage(f"--bandits={settings.bandits}: has several bandits ({names}); choose one with --bandit")
        return next(iter(bandits.bandits.values()))
    found = bandits.bandits.get(settings.bandit)
    if found is None:
        raise BadUsage(f"--bandit={settings.bandit}: is not in {settings.bandits}; the bandits are {names}")
    return found


def _evaluation(
    settings: OffPolicySettings,
    bandit: Bandit,
    facts: Mapping[str, Any],
    written: Mapping[str, Any] | None,
    policy: str,
    by_user: bool,
) -> Evaluation:
    counts = {name: facts.get(name, 0) for name in (*LEFT_OUT, "fallbacks", "without_user", *_JOIN_COUNTS)}
    evaluated = facts.get("evaluated", 0)
    if written is None or evaluated < _LEAST_DECISIONS:
        left_out = ", ".join(f"{counts[name]:,} {name}" for name in LEFT_OUT if counts[name]) or "none"
        raise BadInput(
            f"--decisions: {evaluated} decisions of bandit {bandit.bandit_id} can be evaluated (left out: {left_out}); "
            f"check --bandit and the policy_epoch of {settings.bandits}"
        )
    low, high = written["reward_range"]
    notes = []
    if low == high == 0:
        notes.append("every reward is 0; check that --rewards are those of --decisions, and the bandit's reward_kinds")
    if bandit.attribution.aggregate == "any":
        low, high = 0.0, 1.0
    else:
        notes.append("the Bernstein intervals take the smallest and largest reward of the log for the possible ones")
    return summarize(
        Sums.from_json(written["sums"]),
        bandit_id=bandit.bandit_id,
        policy=policy,
        counts=counts,
        by_user=by_user,
        reward_range=(low, high),
        min_ess=settings.min_ess,
        notes=notes,
    )


def _sizes(files: Sequence[InputFile]) -> dict[str, int]:
    return {file.uri: file.size_bytes for file in files}


def _refuse(refused: Sequence[str]) -> None:
    if refused:
        raise Refused(f"refused: {'; '.join(refused)}")
