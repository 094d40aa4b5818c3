"""Every problem of a command line is found before anything is opened, and named with its value."""

from __future__ import annotations

import json

import pytest

from pipelines.vae_train.checks import check
from pipelines.vae_train.options import VaeOptions
from transforms.interactions.options import InteractionOptions
from transforms.runs.command_line import parse

PROBLEMS = {
    "--serving_top_k=0": "is below 1",
    "--min_item_users=0": "is below 1",
    "--min_user_items=-1": "is below 1",
    "--hidden=0": "is below 1",
    "--latent=-5": "is below 1",
    "--samples=0": "is below 1",
    "--patience=0": "is below 1",
    "--batch_users=0": "is below 1",
    "--encoder_passes=0": "is below 1",
    "--shuffle_users=0": "is below 1",
    "--checkpoint_steps=0": "is below 1",
    "--sampled_items=0": "is below 1",
    "--epochs=0": "or omit the option",
    "--max_items=0": "or omit the option",
    "--linear_items=-1": "use 0 to train no linear term",
    "--validation_fraction=0": "must be greater than 0 and less than 0.9",
    "--validation_fraction=nan": "must be greater than 0 and less than 0.9",
    "--validation_fraction=0.9": "must be greater than 0 and less than 0.9",
    "--test_fraction=-0.1": "must be between 0 and 0.9",
    "--test_fraction=nan": "must be between 0 and 0.9",
    "--fold_in=1": "must be greater than 0 and less than 1",
    "--dropout=1": "must be at least 0 and less than 1",
    "--dropout=nan": "must be at least 0 and less than 1",
    "--anneal_fraction=0": "must be greater than 0 and at most 1",
    "--gamma=-1": "must be a number of at least 0",
    "--beta_cap=inf": "must be a number of at least 0",
    "--recency_half_life=0": "must be a number greater than 0",
    "--learning_rate=0": "must be a number greater than 0",
    "--learning_rate=nan": "must be a number greater than 0",
    "--final_learning_rate=0": "must be a number greater than 0",
    "--seed=-1": "must be between 0 and 2^63 - 1",
    "--side_columns=topic": "needs --items=FILE",
    "--work_dir=s3://bucket/work": "is remote",
    "--max_bad_fraction=2": "is not between 0 and 1",
}


def problems(*flags: str) -> list[str]:
    return check(parse(flags, (InteractionOptions, VaeOptions), "vae-train", ""))


@pytest.mark.parametrize("flag", PROBLEMS)
def test_a_value_out_of_range_is_one_sentence_with_the_flag_and_the_value(flag: str) -> None:
    [sentence] = problems("--interactions=in", "--output=out", flag)
    assert sentence.startswith(flag.partition("=")[0]) and PROBLEMS[flag] in sentence
    assert "\n" not in sentence


def test_a_sound_command_line_has_no_problem() -> None:
    flags = ["--items=items.csv", "--side_columns=topic", "--validation_fraction=0.5", "--test_fraction=0.4"]
    assert problems("--interactions=in", "--output=out") == problems("--interactions=in", "--output=out", *flags) == []


def test_all_problems_are_named_at_once() -> None:
    found = problems("--hidden=0", "--dropout=2")
    assert [sentence.split()[0] for sentence in found] == ["--interactions", "--output", "--hidden=0", "--dropout=2.0"]


def test_fractions_that_leave_nobody_to_train_on() -> None:
    [sentence] = problems("--interactions=in", "--output=out", "--validation_fraction=0.6", "--test_fraction=0.6")
    assert sentence.startswith("--validation_fraction plus --test_fraction must be at most 0.9")


@pytest.mark.parametrize("config", [None, "", "no json", "[]", "{}", '{"cluster": {}}', '{"cluster": {"worker": []}}'])
def test_several_machines_without_tf_config(config: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    [sentence] = problems("--interactions=in", "--output=out", "--distribute=multiworker")
    assert sentence.startswith("--distribute=multiworker: TF_CONFIG lists no workers; set it")


def test_several_machines_and_a_bucket_need_a_folder_that_all_see(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    several = ("--interactions=in", "--output=s3://bucket/out", "--distribute=multiworker")
    [sentence] = problems(*several)
    assert sentence.startswith("--distribute=multiworker needs --work_dir if --output is remote")
    assert problems(*several, "--work_dir=/shared") == []
