"""Declare the flags of `split` and `evaluate`, check them, and read their values."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.evaluate import gate as gates
from pipelines.evaluate.baselines import BASELINES, EASE_ITEMS
from pipelines.evaluate.splitting import SplitRule
from transforms.errors import BadUsage
from transforms.interactions.files import split_globs
from transforms.interactions.options import (
    InteractionOptions,
    InteractionSettings,
    check_options,
    interaction_settings,
)
from transforms.runs.settings import RunSettings, run_settings

__all__ = [
    "EvaluateOptions",
    "EvaluateSettings",
    "SplitOptions",
    "SplitSettings",
    "check_evaluate",
    "check_split",
    "cut_offs",
    "evaluate_settings",
    "named_models",
    "publish_to",
    "read_gates",
    "split_settings",
]


class SplitOptions(InteractionOptions):
    """Interactions to train and holdout."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--output", metavar="DIR", help="folder for train/ and holdout/; required")
        parser.add_argument(
            "--by",
            choices=("user", "time", "user_time"),
            default="user_time",
            help="user holds out a share of the users, time the rows after a cut time, user_time the rows of held-out "
            "users after the cut time (default: user_time; if the log has no times, user)",
        )
        parser.add_argument(
            "--holdout",
            type=float,
            default=0.1,
            help="share of the users that are held out, and of the rows after the cut time, 0 to 1 (default: 0.1)",
        )
        parser.add_argument(
            "--fold_in",
            type=float,
            default=0.8,
            help="share of a held-out user's rows that is given as history, 0 to 1 (only with --by=user, or without "
            "times; default: 0.8)",
        )
        parser.add_argument(
            "--seed", type=int, default=1, help="seed of the hashes that choose users and rows (default: 1)"
        )
        parser.add_argument("--overwrite", action="store_true", help="replace what --output holds (default: refuse)")


class EvaluateOptions(InteractionOptions):
    """Models and held-out interactions to metrics, report, gate and publishing; --interactions are the train rows."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--output", metavar="DIR", help="folder for metrics.json and report.html; required")
        parser.add_argument("--holdout", metavar="GLOB[,GLOB]", help="files of held-out interactions; required")
        parser.add_argument(
            "--model",
            action="append",
            default=[],
            metavar="NAME=DIR",
            help="a model to evaluate: an output folder of batch_cf or vae_train, a SavedModel, or a folder of "
            "numbered versions; may be repeated (default: only the baselines are evaluated)",
        )
        parser.add_argument(
            "--k", metavar="K[,K]", default="20,50,100", help="cut-offs of the metrics (default: 20,50,100)"
        )
        parser.add_argument(
            "--protocol",
            choices=("fold_in", "per_user"),
            help="what a user's history is: fold_in takes the holdout rows with given=true, per_user the user's train "
            "rows (default: fold_in if the holdout has rows with given=true, otherwise per_user)",
        )
        parser.add_argument(
            "--gate",
            action="append",
            default=[],
            metavar="CANDIDATE>=BASELINE:METRIC@K[:MARGIN]",
            help="exit with code 4 and publish nothing if the candidate's mean is more than MARGIN below the "
            "baseline's; a baseline is a model, popularity, cooccurrence, cosine, rp3beta, ease, or serving, which is "
            "the newest version in the folder of --publish, or popularity if the folder has no version; may be "
            "repeated (default: no gate; with --publish, NAME>=serving:ndcg@K with the largest K)",
        )
        parser.add_argument(
            "--publish",
            metavar="NAME:MODEL_DIR",
            help="publish the model NAME to MODEL_DIR if every gate passes (default: not published)",
        )
        parser.add_argument(
            "--ease_lambda",
            type=float,
            default=500.0,
            help="regularization of EASE (only without --tune_baselines; default: 500)",
        )
        parser.add_argument(
            "--tune_baselines",
            action="store_true",
            help="choose the lambda of EASE and the exponents of rp3beta on users held out of the train rows "
            "(default: --ease_lambda, and alpha 1 and beta 0.6 for rp3beta)",
        )
        parser.add_argument(
            "--ease_items",
            type=int,
            default=EASE_ITEMS,
            help=f"largest number of items for which EASE is fitted; 0 never fits EASE (default: {EASE_ITEMS})",
        )
        parser.add_argument("--overwrite", action="store_true", help="replace what --output holds (default: refuse)")


def check_split(options: Any) -> list[str]:
    """Return every problem of the flags of `split`, one sentence each."""
    problems = check_options(options) + _output_problems(options)
    for flag in ("holdout", "fold_in"):
        if not 0 < getattr(options, flag) < 1:
            problems.append(f"--{flag}={getattr(options, flag):g} must be greater than 0 and less than 1")
    if not 0 <= options.seed < 2**64:
        problems.append(f"--seed={options.seed} must be between 0 and 2^64 - 1")
    return problems


def check_evaluate(options: Any) -> list[str]:
    """Return every problem of the flags of `evaluate`, one sentence each."""
    problems = check_options(options) + _output_problems(options)
    if not options.holdout:
        problems.append("--holdout is not set; pass the held-out files, for example --holdout='split/holdout'")
    if not (math.isfinite(options.ease_lambda) and options.ease_lambda > 0):
        problems.append(f"--ease_lambda={options.ease_lambda:g} must be a number greater than 0")
    for read in (cut_offs, named_models, publish_to, read_gates):
        try:
            read(options)
        except BadUsage as error:
            problems.append(str(error))
    return problems


def cut_offs(options: Any) -> list[int]:
    """Return the values of --k, ascending and distinct.

    Raises:
        BadUsage: A value is not a whole number from 1 to 10000.
    """
    parts = options.k.split(",")
    if not all(part.strip().isdecimal() and 1 <= int(part) <= 10_000 for part in parts):
        raise BadUsage(f"--k={options.k} is not a list of whole numbers from 1 to 10000; write it like --k=20,50,100")
    return sorted({int(part) for part in parts})


def named_models(options: Any) -> dict[str, str]:
    """Return the folders of the models by name.

    Raises:
        BadUsage: A name is malformed, repeated, or the name of a baseline.
    """
    found: dict[str, str] = {}
    for text in options.model:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder) or set(name) & set(">=:"):
            raise BadUsage(f"--model={text} is not NAME=DIR (no > = : in the name); write it like --model=cf=out/cf")
        if name in (*BASELINES, gates.SERVING):
            raise BadUsage(f"--model={text}: {name} is the name of a baseline; choose another name")
        if name in found:
            raise BadUsage(f"--model={text}: the name {name} is used twice; give each model its own name")
        found[name] = folder
    return found


def publish_to(options: Any) -> tuple[str, str] | None:
    """Return the model name and base folder of --publish, None without it.

    Raises:
        BadUsage: The value is malformed, or names no model of --model.
    """
    if options.publish is None:
        return None
    name, colon, base = options.publish.partition(":")
    if not (name and colon and base):
        raise BadUsage(f"--publish={options.publish} is not NAME:MODEL_DIR; write it like --publish=cf:models/cf")
    if name not in named_models(options):
        raise BadUsage(f"--publish={options.publish}: there is no --model={name}=DIR; name one of the models")
    return name, base


def read_gates(options: Any) -> list[gates.Gate]:
    """Return the gates, with the one that --publish implies.

    Raises:
        BadUsage: A gate is malformed, always passes, or names an unknown model or cut-off.
    """
    ks, publish = cut_offs(options), publish_to(options)
    found = [gates.parse(text) for text in options.gate]
    if publish and not any(gate.candidate == publish[0] for gate in found):
        found.append(gates.Gate(publish[0], gates.SERVING, "ndcg", ks[-1]))
    known = [*named_models(options), *BASELINES]
    for gate in found:
        if gate.candidate == gate.baseline:
            raise BadUsage(f"--gate={gate}: compares a model with itself and would always pass; name another baseline")
        if gate.k not in ks:
            raise BadUsage(f"--gate={gate}: {gate.k} is not a cut-off of --k={options.k}; add it to --k")
        if gate.candidate not in known:
            raise BadUsage(f"--gate={gate}: there is no model {gate.candidate}; the models are {', '.join(known)}")
        if gate.baseline == gates.SERVING and publish is None:
            raise BadUsage(
                f"--gate={gate}: the baseline serving needs --publish=NAME:MODEL_DIR, whose versions it compares with"
            )
        if gate.baseline not in (*known, gates.SERVING):
            raise BadUsage(
                f"--gate={gate}: there is no model {gate.baseline}; the models are {', '.join(known)}, serving"
            )
    return found


@dataclasses.dataclass(frozen=True)
class SplitSettings:
    """The flags of `split` as plain values.

    Args:
        run: Where the run writes.
        interactions: What it reads.
        rule: Which rows are held out.
    """

    run: RunSettings
    interactions: InteractionSettings
    rule: SplitRule


@dataclasses.dataclass(frozen=True)
class EvaluateSettings:
    """The flags of `evaluate` as plain values.

    Args:
        run: Where the run writes.
        interactions: The train rows.
        holdout: Patterns of the files of held-out interactions.
        models: Folder of each model by name.
        ks: Cut-offs of the metrics, ascending.
        protocol: `fold_in`, `per_user`, or None to choose by the holdout's rows.
        gates: Conditions for publishing.
        publish: Name of the model to publish and the folder of its versions, None to publish nothing.
        ease_lambda: Regularization of EASE.
        tune_baselines: Choose the baselines' parameters on users held out of the train rows.
        ease_items: EASE is left out for more items than this.
    """

    run: RunSettings
    interactions: InteractionSettings
    holdout: Sequence[str]
    models: Mapping[str, str]
    ks: Sequence[int]
    protocol: str | None
    gates: Sequence[gates.Gate]
    publish: tuple[str, str] | None
    ease_lambda: float
    tune_baselines: bool
    ease_items: int


def split_settings(options: Any) -> SplitSettings:
    """Read the flags of `split` once.

    Args:
        options: A command line without problems, see `check_split`.

    Returns:
        The values of the flags.
    """
    view = options.view_as(SplitOptions)
    return SplitSettings(
        run=run_settings(options, (InteractionOptions, SplitOptions), ()),
        interactions=interaction_settings(options),
        rule=SplitRule(view.by, view.holdout, view.fold_in, view.seed),
    )


def evaluate_settings(options: Any) -> EvaluateSettings:
    """Read the flags of `evaluate` once.

    Args:
        options: A command line without problems, see `check_evaluate`.

    Returns:
        The values of the flags.
    """
    view = options.view_as(EvaluateOptions)
    return EvaluateSettings(
        run=run_settings(options, (InteractionOptions, EvaluateOptions), ()),
        interactions=interaction_settings(options),
        holdout=split_globs(view.holdout),
        models=named_models(view),
        ks=cut_offs(view),
        protocol=view.protocol,
        gates=read_gates(view),
        publish=publish_to(view),
        ease_lambda=view.ease_lambda,
        tune_baselines=view.tune_baselines,
        ease_items=view.ease_items,
    )


def _output_problems(options: Any) -> list[str]:
    problems = []
    if not options.output:
        problems.append("--output is not set; pass the folder to write, for example --output=out/run1")
    if options.view_as(InteractionOptions).items:
        problems.append("--items has no effect in this command; leave the flag out")
    return problems
