"""Declare the flags of vae_train and read their values."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.vae_train.config import FeatureRules, ModelConfig, SplitRule, TrainingConfig
from pipelines.vae_train.defaults import LARGE_ITEMS, SPARSE_INTERACTIONS, SPARSE_MODEL, SPARSE_TRAINING, configs
from transforms.interactions.options import InteractionOptions, InteractionSettings, interaction_settings
from transforms.runs.settings import RunSettings, run_settings

__all__ = ["VaeOptions", "VaeSettings", "vae_settings"]

_UNRECORDED = {"work_dir"}
"""Flags that do not change the output."""


class VaeOptions(InteractionOptions):
    """Interactions to a variational autoencoder."""

    # Beam parses the flags of all direct subclasses of PipelineOptions together, and batch_cf has --output too.

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        _add_output(parser)
        _add_features(parser)
        _add_model(parser)
        _add_training(parser)


def _add_output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--output",
        metavar="DIR",
        help="folder to write: transform/, examples/, training.jsonl, model/, run.json; required",
    )
    add("--model_dir", metavar="DIR", help="publish the model there as a new version (default: not published)")
    add("--overwrite", action="store_true", help="replace what --output holds (default: refuse)")
    add(
        "--work_dir",
        metavar="DIR",
        help="local folder of examples and checkpoints during training, from which a killed run resumes (default: in "
        "--output; if --output is remote, a temporary folder, and a killed run starts from the beginning)",
    )
    add("--serving_top_k", type=int, default=100, help="number of items that the served model returns (default: 100)")


def _add_features(parser: argparse.ArgumentParser) -> None:
    add, rules, split = parser.add_argument, FeatureRules(), SplitRule("user")
    add(
        "--split",
        choices=("auto", "user", "time"),
        default="auto",
        help="which items of a validation user the model has to find: user takes a share by hash, time the newest "
        "items (default: auto, which is time if the log has times)",
    )
    add(
        "--validation_fraction",
        type=float,
        help="share of users that validate and are not trained on, 0 to 0.9 (default: 0.05, at least 500 and at most "
        "10,000 users, never more than a fifth)",
    )
    add("--test_fraction", type=float, default=0.0, help="share of users kept for a final test, 0 to 0.9 (default: 0)")
    add(
        "--fold_in",
        type=float,
        default=split.fold_in,
        help=f"share of a held-out user's items that the model is given, 0 to 1 (default: {split.fold_in})",
    )
    add(
        "--refit",
        action="store_true",
        help="train again before the export, on validation users too, for the best number of epochs (default: off)",
    )
    add(
        "--min_item_users",
        type=int,
        default=rules.min_item_users,
        help=f"leave out items with fewer training users (default: {rules.min_item_users})",
    )
    add("--max_items", type=int, help="keep only this many items, the most frequent ones (default: all)")
    add(
        "--min_user_items",
        type=int,
        default=rules.min_user_items,
        help=f"leave out users with fewer items (default: {rules.min_user_items})",
    )
    add(
        "--side_columns",
        metavar="NAME[,NAME]",
        help="columns of the catalogue that become features of the items of a history (only with --items; default: "
        "none)",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    add, model, sparse = parser.add_argument, ModelConfig(), SPARSE_MODEL
    add(
        "--model",
        choices=("recvae", "multvae"),
        help=f"architecture (default: {model.kind}, and multvae for a sparse log: one with more than {LARGE_ITEMS:,} "
        f"items and fewer than {SPARSE_INTERACTIONS} interactions per item)",
    )
    add(
        "--linear_items",
        type=int,
        default=10_000,
        help="largest number of items for which EASE is the linear term blended with the autoencoder; with more "
        "items, the term sums co-occurrence neighbors; the share that validates best is taken; 0 blends no term "
        "(default: 10000, for which EASE takes 400 MB)",
    )
    add("--hidden", type=int, default=model.hidden, help=f"width of the hidden layers (default: {model.hidden})")
    add("--latent", type=int, default=model.latent, help=f"width of the latent layer (default: {model.latent})")
    add(
        "--dropout",
        type=float,
        default=model.dropout,
        help=f"share of a history that is hidden from the encoder in training, 0 to 1 (default: {model.dropout})",
    )
    add(
        "--recency_half_life",
        type=float,
        help="number of places in a history after which an item counts half, in training and serving (default: all "
        "items count alike)",
    )
    add(
        "--gamma",
        type=float,
        default=model.gamma,
        help=f"weight of the KL term per item of a history (only with --model=recvae; default: {model.gamma})",
    )
    add(
        "--beta_cap",
        type=float,
        help=f"largest weight of the KL term (only with --model=multvae; default: {model.beta_cap}, and "
        f"{sparse['beta_cap']} for a sparse log)",
    )
    add(
        "--anneal_fraction",
        type=float,
        default=model.anneal_fraction,
        help="share of the planned steps over which the weight of the KL term rises, 0 to 1 (only with "
        f"--model=multvae; default: {model.anneal_fraction})",
    )
    add(
        "--sampled_items",
        type=int,
        help="with more items than this, training samples the softmax (default: "
        f"{model.sampled_items}, and {sparse['sampled_items']} for a sparse log)",
    )
    add(
        "--samples",
        type=int,
        help="number of negatives in a step (only with more items than --sampled_items; default: "
        f"{model.samples}, and {sparse['samples']} for a sparse log)",
    )
    add(
        "--precision",
        choices=("float32", "bfloat16"),
        default=model.precision,
        help=f"precision of the output layer's products; weights stay float32 (default: {model.precision})",
    )


def _add_training(parser: argparse.ArgumentParser) -> None:
    add, training, sparse = parser.add_argument, TrainingConfig(), SPARSE_TRAINING
    add(
        "--epochs",
        type=int,
        help="largest number of epochs (default: 100 of recvae, 200 of multvae, and "
        f"{sparse['epochs']} for a sparse log)",
    )
    add(
        "--patience",
        type=int,
        default=training.patience,
        help=f"epochs without a better validation score before training stops (default: {training.patience})",
    )
    add(
        "--batch_users",
        type=int,
        help=f"number of users in a step (default: {training.batch_users}, and {sparse['batch_users']} for a sparse "
        "log)",
    )
    add("--learning_rate", type=float, help="learning rate of Adam at the first step (default: 1e-3)")
    add(
        "--final_learning_rate",
        type=float,
        help="learning rate at the end of the last epoch of --epochs; it falls by the same factor in every step of the "
        "second half of the epochs (default: --learning_rate, and a tenth for a sparse log)",
    )
    add(
        "--encoder_passes",
        type=int,
        default=training.encoder_passes,
        help="passes for the encoder before each pass for the decoder (only with --model=recvae; default: "
        f"{training.encoder_passes})",
    )
    add(
        "--dense_updates",
        action="store_true",
        help="update every row of the input layer in every step, as plain Adam does (default: only the rows of the "
        "step's items)",
    )
    add(
        "--seed",
        type=int,
        default=training.seed,
        help=f"seed of the split, the weights, the order and the noise (default: {training.seed})",
    )
    add(
        "--deterministic",
        action="store_true",
        help="use only operations that give the same bits in every run on this machine (default: off)",
    )
    add(
        "--shuffle_users",
        type=int,
        default=training.shuffle_users,
        help=f"number of users held in memory to be put in random order (default: {training.shuffle_users})",
    )
    add(
        "--checkpoint_steps",
        type=int,
        default=training.checkpoint_steps,
        help="number of steps between checkpoints, in addition to the one after every epoch (default: "
        f"{training.checkpoint_steps})",
    )
    add(
        "--distribute",
        choices=("none", "mirrored", "multiworker"),
        default=training.distribute,
        help="distribute the training over the GPUs of this machine (mirrored), or over the machines of TF_CONFIG "
        "(multiworker) (default: none)",
    )


@dataclasses.dataclass(frozen=True)
class VaeSettings:
    """The flags of vae_train as plain values.

    Args:
        run: Where the run writes.
        interactions: What it reads.
        work_dir: Local folder for features and checkpoints, None for one within the output.
        split_by: What validation users are asked for. `auto` is `time` if the log has times, otherwise `user`.
        split: Which users validate and test. `split_rule` replaces its `by`.
        rules: What makes a feature.
        model: The fields of ModelConfig that flags set.
        training: The fields of TrainingConfig that flags set.
        linear_items: Largest number of items for which EASE is tried. Beyond, neighbors are tried. 0 tries nothing.
        refit: Train again on validation users too before the export.
        serving_top_k: Items that the served model returns.
    """

    run: RunSettings
    interactions: InteractionSettings
    work_dir: str | None
    split_by: Literal["auto", "user", "time"]
    split: SplitRule
    rules: FeatureRules
    model: Mapping[str, Any]
    training: Mapping[str, Any]
    linear_items: int
    refit: bool
    serving_top_k: int

    def split_rule(self, has_times: bool) -> SplitRule:
        """Return which users validate, for a log with or without times."""
        by: Literal["user", "time"] = "time" if has_times else "user"
        return dataclasses.replace(self.split, by=by if self.split_by == "auto" else self.split_by)

    def configs(self, items: int, interactions: int) -> tuple[ModelConfig, TrainingConfig]:
        """Return the model and its training for a log of this size. Defaults fill what no flag sets."""
        return configs(self.model, self.training, items, interactions)


def vae_settings(options: PipelineOptions) -> VaeSettings:
    """Read the flags once.

    Args:
        options: A command line without problems, see `checks.check`.

    Returns:
        The values of the flags.
    """
    view = options.view_as(VaeOptions)
    sides = tuple(name for name in (view.side_columns or "").split(",") if name)
    return VaeSettings(
        run=run_settings(options, (InteractionOptions, VaeOptions), _UNRECORDED),
        interactions=interaction_settings(options),
        work_dir=view.work_dir,
        split_by=view.split,
        split=SplitRule("user", view.validation_fraction, view.test_fraction, view.fold_in, view.seed),
        rules=FeatureRules(view.min_item_users, view.max_items, view.min_user_items, sides, view.seed),
        model=_set(ModelConfig, view, kind=view.model),
        training=_set(TrainingConfig, view, lazy=not view.dense_updates),
        linear_items=view.linear_items,
        refit=view.refit,
        serving_top_k=view.serving_top_k,
    )


def _set(config: type[ModelConfig | TrainingConfig], view: Any, **renamed: Any) -> dict[str, Any]:
    """Return the fields of a config that are set: by a flag of that name, or as renamed."""
    names = [field.name for field in dataclasses.fields(config)]
    values = {name: renamed[name] if name in renamed else getattr(view, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}
