"""The sentences below the demo's table."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from examples.course_platform.compare import sentences


def metrics(folder: pathlib.Path, **models: tuple[str, float, float]) -> pathlib.Path:
    found: dict[str, Any] = {}
    for name, (kind, mean, error) in models.items():
        value = {"mean": mean, "standard_error": error}
        found[name] = {
            "kind": kind,
            "metrics": {"ndcg@100": value, "ndcg@20": {"mean": 1 - mean, "standard_error": 0.02}},
        }
    (folder / "metrics.json").write_text(json.dumps({"k": [20, 100], "models": found}))
    return folder / "metrics.json"


def test_a_model_is_as_good_as_a_better_baseline_within_one_standard_error(tmp_path: pathlib.Path) -> None:
    """.40 - .395 is one standard error of the baseline, whatever the model's own."""
    path = metrics(
        tmp_path,
        vae=("candidate", 0.3950001, 0.5),
        cf=("candidate", 0.38, 0.5),
        ease=("baseline", 0.4, 0.005),
        cosine=("baseline", 0.3, 0.005),
    )
    assert sentences(path) == [
        "Best by ndcg@20: cosine (0.7000 ±0.0200). vae is 4.8 standard errors below; cf is 4.0 standard errors below.",
        "Best by ndcg@100: ease (0.4000 ±0.0050). vae is within one standard error; cf is 4.0 standard errors below.",
    ]


def test_the_best_model_is_not_compared_with_itself(tmp_path: pathlib.Path) -> None:
    path = metrics(tmp_path, cf=("candidate", 0.5, 0.01), ease=("baseline", 0.4, 0.01))
    assert sentences(path)[-1] == "Best by ndcg@100: cf (0.5000 ±0.0100)."
