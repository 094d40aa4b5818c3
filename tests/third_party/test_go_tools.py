"""grpcurl, grpc_health_probe and ghz, whose gRPC is Go's, against our local_serving."""

from __future__ import annotations

import base64
import json
import subprocess

import pytest

from tests.serving import models

PREDICT = "tensorflow.serving.PredictionService/Predict"
STATUS = "tensorflow.serving.ModelService/GetModelStatus"
REQUESTS = 200


def run(*command, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False, **options)


def history(*items):
    """A PredictRequest for `contract` in protobuf's JSON, where bytes are base64."""
    return {
        "modelSpec": {"name": "contract"},
        "inputs": {
            "history": {
                "dtype": "DT_STRING",
                "tensorShape": {"dim": [{"size": "1"}, {"size": str(len(items))}]},
                "stringVal": [base64.b64encode(item.encode()).decode() for item in items],
            }
        },
    }


@pytest.fixture
def call(grpcurl, protoset, local_server):
    def called(method, request):
        command = [grpcurl, "-plaintext", "-protoset", protoset, "-d", json.dumps(request), local_server, method]
        return run(*command)

    return called


def test_grpcurl_gets_recommendations(call):
    ended = call(PREDICT, history("c03", "c07"))
    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    items = models.recommend(["c03", "c07"])
    found = [base64.b64decode(item).decode() for item in answer["outputs"]["items"]["stringVal"]]
    assert found == items
    assert answer["outputs"]["scores"]["floatVal"] == [models.score(["c03", "c07"], item) for item in items]
    assert answer["modelSpec"] == {"name": "contract", "version": "1", "signatureName": "serving_default"}


def test_grpcurl_shows_the_code_and_the_words_of_an_error(call):
    ended = call(PREDICT, {**history("c03"), "modelSpec": {"name": "nope"}})
    assert ended.returncode != 0
    assert "Code: NotFound" in ended.stderr
    assert "Message: Servable not found for request: Latest(nope)" in ended.stderr


def test_grpcurl_gets_the_status(call):
    ended = call(STATUS, {"modelSpec": {"name": "contract"}})
    assert ended.returncode == 0, ended.stderr
    (version,) = json.loads(ended.stdout)["modelVersionStatus"]
    assert (version["version"], version["state"]) == ("1", "AVAILABLE")


@pytest.mark.parametrize(
    ("service", "code"),
    [
        ("", 0),
        ("PredictionService", 0),
        ("ModelService", 0),
        ("nope", 3),
    ],
)
def test_the_health_probe_of_kubernetes_gets_its_answer(grpc_health_probe, local_server, service, code):
    """Its exit codes: 0 SERVING, 3 the server does not know the service."""
    ended = run(grpc_health_probe, f"-addr={local_server}", f"-service={service}", "-connect-timeout=10s")
    assert ended.returncode == code, ended.stderr
    assert ("status: SERVING" in ended.stderr) == (code == 0)


def test_ghz_puts_load_on_it_and_no_request_fails(ghz, protoset, local_server):
    options = [
        *("--insecure", "--protoset", protoset, "--call", PREDICT),
        *("--total", REQUESTS, "--concurrency", 8, "--connections", 4, "--timeout", "20s", "--format", "json"),
    ]
    ended = run(ghz, *options, "--data", json.dumps(history("c03", "c07", "")), local_server)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report["count"] == REQUESTS
    assert report["statusCodeDistribution"] == {"OK": REQUESTS}
    assert report["errorDistribution"] == {}
