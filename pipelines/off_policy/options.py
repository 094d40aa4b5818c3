"""Declare the flags of off_policy, check them, and read their values."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import StandardOptions

from transforms.interactions.files import split_globs
from transforms.runs.settings import RunSettings, run_settings

__all__ = ["OffPolicyOptions", "OffPolicySettings", "check", "off_policy_settings"]


# Not a direct subclass of PipelineOptions: Beam parses the flags of all of those together, in whichever pipeline runs,
# and would not take a second --decisions.
class OffPolicyOptions(StandardOptions):
    """The flags of off_policy."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--bandits", metavar="FILE", help="bandits file (YAML) with the attribution rules of the log; required")
        add("--decisions", metavar="GLOB[,GLOB]", help="decision logs (JSON lines); required")
        add("--rewards", metavar="GLOB[,GLOB]", help="reward logs (JSON lines); required")
        add(
            "--policy",
            metavar="FILE|arm:NAME",
            help="policy to evaluate: a bandits file whose bandit of the same name has it, or arm:NAME for always "
            "drawing one arm; required",
        )
        add("--output", metavar="DIR", help="folder for estimates.json and report.html; required")
        add("--bandit", metavar="NAME", help="bandit to evaluate (default: the only one in --bandits)")
        add(
            "--snapshot",
            metavar="FILE",
            help="snapshot at which a policy that learns is frozen (default: none; only a fixed policy needs none)",
        )
        add(
            "--min_ess",
            metavar="N",
            type=float,
            default=200.0,
            help="exit with code 4 if the effective sample size is smaller (default: 200)",
        )
        add(
            "--cluster",
            choices=("user_key", "none"),
            help="decisions that depend on each other: those of a user, or none (default: user_key for a sticky "
            "bandit, otherwise none)",
        )
        add(
            "--exclude_fallbacks",
            action="store_true",
            help="leave out decisions whose arm failed, which biases the estimates (default: keep them under the arm "
            "that was drawn)",
        )
        add("--seed", type=int, default=1, help="seed of the bootstrap (default: 1)")
        add(
            "--max_bad_fraction",
            metavar="FRACTION",
            type=float,
            default=0.01,
            help="fail if more than this fraction of the lines is malformed (default: 0.01)",
        )
        add("--overwrite", action="store_true", help="replace what --output holds (default: refuse)")


@dataclasses.dataclass(frozen=True)
class OffPolicySettings:
    """The flags of off_policy as plain values.

    Args:
        run: Where the run writes.
        bandits: Path of the bandits file.
        decisions: Patterns of the decision logs.
        rewards: Patterns of the reward logs.
        policy: Path of a bandits file, or arm:NAME.
        bandit: Name of the bandit, None for the only one.
        snapshot: Path of the snapshot at which the policy is frozen, or None.
        min_ess: Smallest effective sample size.
        cluster: `user_key`, `none`, or None to choose by the bandit's `sticky`.
        exclude_fallbacks: Leave out decisions whose arm failed.
        seed: Seed of the bootstrap.
        max_bad_fraction: Largest share of malformed lines.
    """

    run: RunSettings
    bandits: str
    decisions: Sequence[str]
    rewards: Sequence[str]
    policy: str
    bandit: str | None
    snapshot: str | None
    min_ess: float
    cluster: str | None
    exclude_fallbacks: bool
    seed: int
    max_bad_fraction: float


def check(options: Any) -> list[str]:
    """Return every problem of the command line, one sentence each. No file is opened."""
    view = options.view_as(OffPolicyOptions)
    problems = [
        f"--{name} is not set; pass {what}"
        for name, what in (
            ("bandits", "the bandits file"),
            ("decisions", "the decision logs, for example --decisions='logs/decisions/*'"),
            ("rewards", "the reward logs, for example --rewards='logs/rewards/*'"),
            ("policy", "the policy to evaluate, for example --policy=arm:vae"),
            ("output", "the folder to write, for example --output=out/always-vae"),
        )
        if not getattr(view, name)
    ]
    if not view.min_ess >= 0:
        problems.append(f"--min_ess={view.min_ess:g} must be 0 or greater")
    if not 0 <= view.max_bad_fraction <= 1:
        problems.append(f"--max_bad_fraction={view.max_bad_fraction:g} must be between 0 and 1")
    if not 0 <= view.seed < 2**63:
        problems.append(f"--seed={view.seed} must be between 0 and 2^63 - 1")
    if view.snapshot and (view.policy or "").startswith("arm:"):
        problems.append(f"--snapshot has no effect with --policy={view.policy}; leave one of them out")
    return problems


def off_policy_settings(options: Any) -> OffPolicySettings:
    """Read the flags once.

    Args:
        options: A command line without problems, see `check`.

    Returns:
        The values of the flags.
    """
    view = options.view_as(OffPolicyOptions)
    # run.json has the digests of the files instead of their names.
    files = ("bandits", "decisions", "rewards", "snapshot")
    return OffPolicySettings(
        run=run_settings(options, (OffPolicyOptions,), files),
        bandits=view.bandits,
        decisions=split_globs(view.decisions),
        rewards=split_globs(view.rewards),
        policy=view.policy,
        bandit=view.bandit,
        snapshot=view.snapshot,
        min_ess=view.min_ess,
        cluster=view.cluster,
        exclude_fallbacks=view.exclude_fallbacks,
        seed=view.seed,
        max_bad_fraction=view.max_bad_fraction,
    )
