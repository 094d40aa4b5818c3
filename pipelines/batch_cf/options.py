"""Declare the flags of batch_cf, check them, and read their values."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
from typing import Any, Literal

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.batch_cf.measure_flags import (
    AUTO,
    add_measure_flags,
    measure_of,
    measure_options,
    measure_problems,
    search_of,
    uses_weights,
)
from pipelines.batch_cf.rules import HistoryRules
from pipelines.batch_cf.scoring import Measure
from pipelines.batch_cf.selection.search import Search
from transforms.interactions.options import InteractionOptions, InteractionSettings, check_options, interaction_settings
from transforms.runs.settings import RunSettings, run_settings

__all__ = ["CfOptions", "CfSettings", "cf_settings", "check", "parse_half_life"]

_UNRECORDED = {"strategy", "broadcast_limit_mb", "user_shards", "compute_threads"}
"""Flags that do not change the output."""
_UNITS_US = {"h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}


class CfOptions(PipelineOptions):
    """Interactions to item neighbors."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--output", metavar="DIR", help="folder to write: neighbors/, items.parquet, model/, run.json; required")
        add("--model_dir", metavar="DIR", help="publish the model there as a new version (default: not published)")
        add("--overwrite", action="store_true", help="replace what --output holds (default: refuse)")
        add_measure_flags(parser)
        add("--serving_top_k", type=int, default=100, help="items the served model returns (default: 100)")
        add(
            "--recency_half_life",
            type=float,
            help="served model: number of newer items after which an item counts half (default: all count alike)",
        )
        add(
            "--dedupe",
            choices=("last", "first", "sum", "max"),
            default="last",
            help="which of several interactions of a user with an item counts (default: last)",
        )
        add(
            "--half_life",
            metavar="N(h|d|w)",
            help="age at which a weight halves, in hours, days or weeks, such as 30d (default: no decay)",
        )
        add("--min_user_items", type=int, default=1, help="leave out users with fewer items (default: 1)")
        add("--max_user_items", type=int, help="leave out users with more items (default: none)")
        add("--min_item_users", type=int, default=1, help="leave out items with fewer users (default: 1)")
        add("--max_item_users", type=int, help="leave out items with more users (default: none)")
        add(
            "--max_items_per_user",
            type=int,
            help="keep this many items per user: the newest, or by a seeded hash without times (default: all)",
        )
        add("--seed", type=int, default=1, help="seed of the hashes (default: 1)")
        add(
            "--strategy",
            choices=("auto", "broadcast", "shuffle"),
            default="auto",
            help="how item pairs are summed; same output (default: auto, by the size of the input)",
        )
        add(
            "--broadcast_limit_mb",
            type=int,
            default=1024,
            help="largest matrix in MiB that every worker gets (only with --strategy=auto; default: 1024)",
        )
        add("--user_shards", type=int, help="shards of users; same output (default: by input size)")
        add("--compute_threads", type=int, help="threads per worker for ranking; same output (default: all cores)")
        add("--keep_increment", action="store_true", help="store what a later run with --base needs (default: off)")
        add(
            "--base",
            metavar="DIR",
            help="output of an earlier run with --keep_increment; --interactions are the new ones (default: none)",
        )


def check(options: PipelineOptions) -> list[str]:
    """Return every problem of the command line, one sentence each. No file is opened."""
    view = options.view_as(CfOptions)
    problems = check_options(options)
    if not view.output:
        problems.append("--output is missing; pass the folder to write")
    problems += measure_problems(view)
    for name in ("serving_top_k", "min_user_items", "min_item_users"):
        if getattr(view, name) < 1:
            problems.append(f"--{name}={getattr(view, name)} is below 1; use 1 or more")
    for name in (
        "max_user_items",
        "max_item_users",
        "max_items_per_user",
        "user_shards",
        "compute_threads",
        "broadcast_limit_mb",
    ):
        value = getattr(view, name)
        if value is not None and value < 1:
            problems.append(f"--{name}={value} is below 1; use 1 or more, or leave it out")
    if not 0 <= view.seed < 2**64:
        problems.append(f"--seed={view.seed} is not between 0 and 2^64 - 1")
    if view.base and view.output and os.path.normpath(view.base) == os.path.normpath(view.output):
        problems.append(f"--base={view.base} is also --output, and a rerun would add twice; write to another folder")
    for low, high in (("min_user_items", "max_user_items"), ("min_item_users", "max_item_users")):
        if getattr(view, high) is not None and getattr(view, high) < getattr(view, low):
            problems.append(
                f"--{high}={getattr(view, high)} is below --{low}={getattr(view, low)}; no interaction would be left"
            )
    if view.user_shards is not None and view.user_shards > 65_536:
        problems.append(f"--user_shards={view.user_shards} is above 65536; use fewer")
    if view.recency_half_life is not None and not view.recency_half_life > 0:
        problems.append(f"--recency_half_life={view.recency_half_life} is not a positive number of places")
    if view.half_life is not None and parse_half_life(view.half_life) is None:
        problems.append(
            f"--half_life={view.half_life} is not a duration; write a positive number and h, d or w, such as 30d"
        )
    if view.strategy == "broadcast" and (view.keep_increment or view.base):
        problems.append("--strategy=broadcast forms no pair sums; with --keep_increment or --base use auto or shuffle")
    if view.similarity == "ease" and view.strategy == "broadcast":
        problems.append("--strategy=broadcast forms no pair sums, which --similarity=ease needs; use auto or shuffle")
    if view.similarity == AUTO and view.strategy == "broadcast":
        problems.append("--strategy=broadcast cannot form every measure that --similarity=auto may choose; use auto")
    return problems


@dataclasses.dataclass(frozen=True)
class CfSettings:
    """The flags of batch_cf as plain values.

    Args:
        run: Where the run writes.
        interactions: What it reads.
        rules: Which interactions make a history.
        measure: The similarity with its parameters, and the neighbors kept per item. With a search it is a stand-in
            until `selection.select.apply` replaces it.
        search: What --similarity=auto leaves open, None if the flags name a measure.
        serving_top_k: Items that the served model returns.
        recency_half_life: Places in a history after which an item counts half in the served model. None: all alike.
        strategy: How item pairs are summed. `auto` chooses by the size of the input.
        broadcast_bytes: Largest matrix in bytes that `auto` gives every worker.
        user_shards: Shards of users. None chooses by size.
        compute_threads: Threads per worker for ranking. None takes all cores.
        keep_increment: Store what a later run with `base` needs.
        base: Output of an earlier run to which the interactions are added, None without one.
    """

    run: RunSettings
    interactions: InteractionSettings
    rules: HistoryRules
    measure: Measure
    search: Search | None
    serving_top_k: int
    recency_half_life: float | None
    strategy: Literal["auto", "broadcast", "shuffle"]
    broadcast_bytes: int
    user_shards: int | None
    compute_threads: int | None
    keep_increment: bool
    base: str | None


def cf_settings(options: PipelineOptions) -> CfSettings:
    """Read the flags once.

    Args:
        options: A command line without problems, see `check`.

    Returns:
        The values of the flags.
    """
    view = options.view_as(CfOptions)
    run = run_settings(options, (InteractionOptions, CfOptions), _UNRECORDED)
    return CfSettings(
        run=dataclasses.replace(run, options={**run.options, **measure_options(view)}),
        interactions=interaction_settings(options),
        rules=_history_rules(view),
        measure=measure_of(view),
        search=search_of(view),
        serving_top_k=view.serving_top_k,
        recency_half_life=view.recency_half_life,
        strategy=view.strategy,
        broadcast_bytes=view.broadcast_limit_mb << 20,
        user_shards=view.user_shards,
        compute_threads=view.compute_threads,
        keep_increment=view.keep_increment,
        base=view.base,
    )


def parse_half_life(text: str) -> int | None:
    """Return a duration such as 12h, 30d or 2w in microseconds, None if the text is not a duration."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text)
    duration = float(found[1]) * _UNITS_US[found[2]] if found else 0.0
    return round(duration) if 1 <= duration < 2**62 else None


def _history_rules(view: Any) -> HistoryRules:
    return HistoryRules(
        dedupe=view.dedupe,
        half_life_us=None if view.half_life is None else parse_half_life(view.half_life),
        min_user_items=view.min_user_items,
        max_user_items=view.max_user_items,
        min_item_users=view.min_item_users,
        max_item_users=view.max_item_users,
        max_items_per_user=view.max_items_per_user,
        binary=not uses_weights(view),
        seed=view.seed,
    )
