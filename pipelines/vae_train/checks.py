"""Check the command line before any file is opened."""

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
    """Return every problem of the command line, one sentence each. Open no file."""
    view, reading = options.view_as(VaeOptions), options.view_as(InteractionOptions)
    problems = check_options(options)
    if not view.output:
        problems.append("--output is not set; pass the folder to write")
    counts: tuple[str, ...] = (
        "serving_top_k",
        "min_item_users",
        "min_user_items",
        "hidden",
        "latent",
        "patience",
    )
    counts += ("encoder_passes", "shuffle_users", "checkpoint_steps")
    problems += [
        f"--{name}={getattr(view, name)} is below 1; use 1 or more" for name in counts if getattr(view, name) < 1
    ]
    for name in ("max_items", "epochs", "batch_users", "sampled_items", "samples"):
        if getattr(view, name) is not None and getattr(view, name) < 1:
            problems.append(f"--{name}={getattr(view, name)} is below 1; use 1 or more, or omit the option")
    if view.linear_items < 0:
        problems.append(f"--linear_items={view.linear_items} is below 0; use 0 to train no linear term")
    problems += _range_problems(view)
    if not 0 <= view.seed < 2**63:
        problems.append(f"--seed={view.seed} must be between 0 and 2^63 - 1")
    if view.side_columns and not reading.items:
        problems.append(f"--side_columns={view.side_columns} needs --items=FILE; pass the catalogue with these columns")
    problems += _place_problems(view)
    return problems


def _range_problems(view: Any) -> list[str]:
    problems = []
    if view.validation_fraction is not None and not 0 < view.validation_fraction < 0.9:
        problems.append(f"--validation_fraction={view.validation_fraction} must be greater than 0 and less than 0.9")
    if not 0 <= view.test_fraction <= 0.9:
        problems.append(f"--test_fraction={view.test_fraction} must be between 0 and 0.9")
    elif (view.validation_fraction or 0.0) + view.test_fraction > 0.9:
        problems.append(
            "--validation_fraction plus --test_fraction must be at most 0.9; lower one to leave users for training"
        )
    if not 0 < view.fold_in < 1:
        problems.append(f"--fold_in={view.fold_in} must be greater than 0 and less than 1")
    if not 0 <= view.dropout < 1:
        problems.append(f"--dropout={view.dropout} must be at least 0 and less than 1")
    if not 0 < view.anneal_fraction <= 1:
        problems.append(f"--anneal_fraction={view.anneal_fraction} must be greater than 0 and at most 1")
    problems += [
        f"--{name}={getattr(view, name)} must be a number of at least 0"
        for name in ("gamma", "beta_cap")
        if getattr(view, name) is not None and not 0 <= getattr(view, name) < math.inf
    ]
    for name in ("recency_half_life", "learning_rate", "final_learning_rate"):
        value = getattr(view, name)
        if value is not None and not 0 < value < math.inf:
            problems.append(f"--{name}={value} must be a number greater than 0")
    return problems


def _place_problems(view: Any) -> list[str]:
    problems = []
    if view.work_dir and not storage.is_local(view.work_dir):
        problems.append(
            f"--work_dir={view.work_dir} is remote; pass a local folder, because TensorFlow trains from local files"
        )
    if view.distribute == "multiworker":
        try:
            cluster = json.loads(os.environ.get("TF_CONFIG", ""))["cluster"]["worker"]
        except (ValueError, KeyError, TypeError):
            cluster = None
        if not view.work_dir and view.output and not storage.is_local(view.output):
            problems.append(
                "--distribute=multiworker needs --work_dir if --output is remote; pass a folder that all workers share"
            )
        if not cluster:
            problems.append(
                "--distribute=multiworker: TF_CONFIG lists no workers; set it as the guide of tf.distribute describes"
            )
    return problems
