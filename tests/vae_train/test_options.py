"""Every flag reaches the value that the run uses: all at values that are not the defaults."""

from __future__ import annotations

import dataclasses

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.vae_train.config import FeatureRules, ModelConfig, SplitRule, TrainingConfig
from pipelines.vae_train.options import vae_settings

FEATURES = FeatureRules(min_item_users=3, max_items=70, min_user_items=4, side_columns=("topic", "level"), seed=9)
SPLIT = SplitRule("time", validation_fraction=0.2, test_fraction=0.1, fold_in=0.7, seed=9)
MODEL = ModelConfig(
    kind="multvae", hidden=31, latent=7, dropout=0.25, recency_half_life=6.5, gamma=0.01, beta_cap=0.3,
    anneal_fraction=0.6, sampled_items=40, samples=20, precision="bfloat16",
)  # fmt: skip
TRAINING = TrainingConfig(
    epochs=11, batch_users=12, learning_rate=0.02, final_learning_rate=0.01, encoder_passes=2, patience=5, seed=9,
    deterministic=True, shuffle_users=300, checkpoint_steps=13, lazy=False, distribute="mirrored",
)  # fmt: skip
SPELLED = {
    "kind": "--model=multvae",
    "by": "--split=time",
    "side_columns": "--side_columns=topic,level",
    "lazy": "--dense_updates",
    "deterministic": "--deterministic",
}


def flags() -> list[str]:
    found = {}
    for config in (FEATURES, SPLIT, MODEL, TRAINING):
        for name, value in dataclasses.asdict(config).items():
            found[name] = SPELLED.get(name, f"--{name}={value}")
    return list(found.values())


def test_every_field_of_every_config_has_its_flag() -> None:
    settings = vae_settings(PipelineOptions(["--interactions=log", *flags()]))
    assert settings.rules == FEATURES
    assert settings.split_rule(has_times=True) == settings.split_rule(has_times=False) == SPLIT
    assert settings.configs(5, 1_000) == settings.configs(50_000, 1_000) == (MODEL, TRAINING)


@pytest.mark.parametrize("config", [FEATURES, SPLIT, MODEL, TRAINING])
def test_the_values_above_are_not_the_defaults(config: object) -> None:
    """Else a flag that goes nowhere would not be seen."""
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        assert field.default is dataclasses.MISSING or getattr(config, field.name) != field.default, field.name


def test_without_flags_the_configs_are_the_defaults() -> None:
    settings = vae_settings(PipelineOptions(["--interactions=log"]))
    assert settings.configs(5, 1_000) == (ModelConfig(), TrainingConfig())
    assert settings.rules == FeatureRules()


def test_epochs_are_those_of_the_model() -> None:
    settings = vae_settings(PipelineOptions(["--interactions=log", "--model=multvae"]))
    assert settings.configs(5, 1_000) == (ModelConfig(kind="multvae"), TrainingConfig(epochs=200))


@pytest.mark.parametrize(("has_times", "by"), [(True, "time"), (False, "user")])
def test_the_split_is_by_time_where_there_are_times(has_times: bool, by: str) -> None:
    assert vae_settings(PipelineOptions(["--interactions=log"])).split_rule(has_times).by == by
