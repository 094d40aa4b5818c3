"""Summarize a run of vae_train: counters and notes for run.json, and a table on the terminal."""

from __future__ import annotations

from typing import Any

from pipelines.vae_train.config import ModelConfig
from pipelines.vae_train.defaults import is_sparse
from pipelines.vae_train.featuring import Features
from pipelines.vae_train.fitting import Fitted
from transforms.runs.facts import reports_of
from transforms.runs.run import RunResult, count_rows
from transforms.runs.summary import closing_sentence, print_summary

__all__ = ["counters", "notes", "show"]

_FEW_USERS = 100
_FACTS = ("zero_weight", "interactions", "items", "users", "train_users", "validation_users", "test_users")
_COUNTS = (
    ("rows read", "rows_read"),
    ("repeated header rows", "header_rows"),
    ("rows rejected", "rows_rejected"),
    ("  of them in the future", "rows_future"),
    ("rows filtered", "rows_filtered"),
    ("of weight 0", "zero_weight"),
    ("interactions", "interactions"),
    ("items", "items"),
    ("users trained on", "train_users"),
    ("users that validate", "validation_users"),
    ("users that test", "test_users"),
    ("users of the refit", "refit_users"),
)


def counters(made: Features, fitted: Fitted) -> dict[str, int | float]:
    """Return the counts and scores for run.json."""
    facts = made.facts
    found: dict[str, int | float] = {name: facts[name] for name in _FACTS}
    if fitted.training["refit"]:
        found["refit_users"] = fitted.features.facts["train_users"]
    found |= count_rows(reports_of(facts))
    if fitted.linear is not None and fitted.blend is not None:
        found["blend: validation ndcg@100"] = fitted.blend["ndcg@100"]
    found |= {f"validation {name}": value for name, value in fitted.validation.items()}
    found |= {f"test {name}": value for name, value in fitted.test.items()}
    return found


def notes(model: ModelConfig, facts: dict[str, Any], fitted: Fitted) -> list[str]:
    """Return the notes for the user, in addition to the counts."""
    found = [f"best epoch {fitted.training['best_epoch']} of {fitted.training['epochs_run']}"]
    if fitted.blend is not None and fitted.linear is None:
        found.append("no linear term: validation likes the model better without")
    elif fitted.blend is not None:
        found.append(f"served blend: {fitted.share:.1f} autoencoder, rest {fitted.blend['term']}")
    if fitted.validation:
        found.append(
            "validation scores are of users of --interactions that were not trained on, and of the autoencoder alone "
            "unless they say blend; recbeam evaluate asks other users for other items, so compare models by one of both"
        )
    if fitted.training["refit"]:
        found.append("refit on all users but the test users: examples/ are the refit's, without a validation split")
    if facts["validation_users"] < _FEW_USERS:
        found.append(f"{facts['validation_users']} users validate: too few to trust their scores")
    if model.kind == "multvae" and is_sparse(facts["items"], facts["interactions"]):
        mean = facts["interactions"] / facts["items"]
        found.append(f"sparse log, {mean:.1f} interactions per item: flags that are not set take its defaults")
    if facts["items"] > model.sampled_items:
        found.append(
            f"softmax sampled in training (more than --sampled_items={model.sampled_items}), full in validation"
        )
    if facts["users_without_known_items"]:
        found.append(f"{facts['users_without_known_items']:,} users without an item of the vocabulary are left out")
    if facts["users_too_short_to_hold_out"]:
        found.append(f"{facts['users_too_short_to_hold_out']:,} held-out users with one item are left out")
    return found


def show(result: RunResult, output: str) -> str:
    """Print the table of counts, scores and times to stdout.

    Args:
        result: What the run did.
        output: Folder of the output.

    Returns:
        The closing sentence.
    """
    record = result.record
    if record is not None and not result.reused:
        counts = {label: f"{record.counters[name]:,}" for label, name in _COUNTS if name in record.counters}
        scores = {name: f"{value:.4f}" for name, value in sorted(record.counters.items()) if "@" in name}
        print_summary(record, counts, scores)
    return closing_sentence(result, output, "examples/, training.jsonl and model/")
