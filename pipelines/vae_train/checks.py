"""What can be said against a command line before anything is opened, one sentence a problem."""

from __future__ import annotations

import json
import math
import os
from typing import Any

from pipelines.vae_train.options import VaeOptions
from transforms.files import storage
from transforms.interactions.options import InteractionOptions, check_options

__all__ = ["check"]


def check(options: Any) -> list[str]:
    """Every problem of the command line, one sentence each; nothing is opened."""
    view, reading = options.view_as(VaeOptions), options.view_as(InteractionOptions)
    problems = check_options(options)
    if not view.output:
        problems.append("--output is missing; pass the folder to write")
    counts: tuple[str, ...] = (
        "serving_top_k",
        "min_item_users",
        "min_user_items",
        "hidden",
        "latent",
        "samples",
        "patience",
    )
    counts += ("batch_users", "encoder_passes", "shuffle_users", "checkpoint_steps", "sampled_items")
    problems += [
        f"--{name}={getattr(view, name)} is below 1; use 1 or more" for name in counts if getattr(view, name) < 1
    ]
    for name in ("max_items", "epochs"):
        if getattr(view, name) is not None and getattr(view, name) < 1:
            problems.append(f"--{name}={getattr(view, name)} is below 1; use 1 or more, or leave it out")
    if view.linear_items < 0:
        problems.append(f"--linear_items={view.linear_items} is below 0; use 0 for no linear term")
    problems += _range_problems(view)
    if not 0 <= view.seed < 2**63:
        problems.append(f"--seed={view.seed} is not between 0 and 2^63 - 1")
    if view.side_columns and not reading.items:
        problems.append(f"--side_columns={view.side_columns} needs --items=FILE, the catalogue that has them")
    problems += _place_problems(view)
    return problems


def _range_problems(view: Any) -> list[str]:
    problems = []
    if view.validation_fraction is not None and not 0 < view.validation_fraction < 0.9:
        problems.append(f"--validation_fraction={view.validation_fraction} is not between 0 and 0.9, both excluded")
    if not 0 <= view.test_fraction <= 0.9:
        problems.append(f"--test_fraction={view.test_fraction} is not between 0 and 0.9")
    elif (view.validation_fraction or 0.0) + view.test_fraction > 0.9:
        problems.append("--validation_fraction and --test_fraction leave less than a tenth of the users to train on")
    if not 0 < view.fold_in < 1:
        problems.append(f"--fold_in={view.fold_in} is not between 0 and 1, both excluded")
    if not 0 <= view.dropout < 1:
        problems.append(f"--dropout={view.dropout} is not at least 0 and below 1")
    if not 0 < view.anneal_fraction <= 1:
        problems.append(f"--anneal_fraction={view.anneal_fraction} is not above 0 and at most 1")
    problems += [
        f"--{name}={getattr(view, name)} is not a number of at least 0"
        for name in ("gamma", "beta_cap")
        if not 0 <= getattr(view, name) < math.inf
    ]
    for name in ("recency_half_life", "learning_rate"):
        value = getattr(view, name)
        if value is not None and not 0 < value < math.inf:
            problems.append(f"--{name}={value} is not a positive number")
    return problems


def _place_problems(view: Any) -> list[str]:
    problems = []
    if view.work_dir and not storage.is_local(view.work_dir):
        problems.append(f"--work_dir={view.work_dir} is remote; TensorFlow trains from a local folder")
    if view.distribute == "multiworker":
        try:
            cluster = json.loads(os.environ.get("TF_CONFIG", ""))["cluster"]["worker"]
        except (ValueError, KeyError, TypeError):
            cluster = None
        if not view.work_dir and view.output and not storage.is_local(view.output):
            problems.append("--distribute=multiworker: pass --work_dir=DIR, a folder that all workers see")
        if not cluster:
            problems.append("--distribute=multiworker: TF_CONFIG names no workers; set it as tf.distribute describes")
    return problems
