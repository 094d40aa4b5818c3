"""ovmsclient, Intel's client of TF Serving's protocol, against our local_serving: it finds what it expects."""

from __future__ import annotations

import json
import pathlib
import subprocess

import pytest

from tests.serving import models

SCRIPT = pathlib.Path(__file__).resolve().parent / "ovms_calls.py"


@pytest.fixture(scope="module")
def outcomes(local_server, ovms_python) -> dict:
    """What each call of ovms_calls.py came to."""
    ended = subprocess.run(
        [str(ovms_python), str(SCRIPT), local_server], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_it_reads_predictions_of_numbers(outcomes):
    """x / 2 + 2; it sends a scalar as shape [1] in float_val, lists and arrays in tensor_content."""
    assert outcomes["floats"] == {"dtype": "f", "values": [2.5, 3.0]}
    assert outcomes["scalar"] == {"dtype": "f", "values": [4.0]}
    assert outcomes["content"] == {"dtype": "f", "values": [[2.5, 2.5], [2.5, 2.5]]}


def test_it_reads_recommendations(outcomes):
    items = models.recommend(["c03", "c07"])
    assert outcomes["strings"]["items"]["values"] == [items]
    assert outcomes["strings"]["scores"]["values"] == [[models.score(["c03", "c07"], item) for item in items]]


def test_every_dtype_it_sends_arrives_and_comes_back(outcomes):
    values = {name: output["values"] for name, output in outcomes["typed"].items()}
    assert values == {"f": [3.0], "i": [3], "l": [4], "s": ["a!"], "text_bytes": ["a"]}


def test_it_reads_status_and_metadata(outcomes):
    assert outcomes["status"] == {"1": {"state": "AVAILABLE", "error_code": 0, "error_message": ""}}
    assert outcomes["metadata"] == {
        "model_version": 1,
        "inputs": {"history": {"shape": [-1, -1], "dtype": "DT_STRING"}},
        "outputs": {
            "items": {"shape": [-1, 20], "dtype": "DT_STRING"},
            "scores": {"shape": [-1, 20], "dtype": "DT_FLOAT"},
        },
    }


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ("unknown model", "ModelNotFoundError", "Servable not found for request: Specific(nope, 1)"),
        # Where no version is named it sends 0: the latest to Intel's server, version 0 to TF Serving and to us.
        ("no version", "ModelNotFoundError", "Servable not found for request: Specific(half_plus_two, 0)"),
        ("unknown version", "ModelNotFoundError", "Could not find version 9 of model half_plus_two"),
        ("unknown input", "InvalidInputError", "Signature input alias: x(feed name: "),
        ("wrong dtype", "InvalidInputError", "to be float but string is provided"),
    ],
)
def test_it_tells_our_errors_apart(outcomes, call, error, words):
    assert outcomes[call]["error"] == error
    assert words in outcomes[call]["message"]
