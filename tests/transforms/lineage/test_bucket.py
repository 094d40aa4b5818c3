"""Runs and versions in a bucket (S3 as moto plays it) are traced like those on disk.

Beam makes a client per request, which takes 0.1 s, so the bucket is filled without Beam, and there is one test.
"""

from __future__ import annotations

import hashlib
import json

import boto3
import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from moto import mock_aws

from transforms.lineage.command import main
from transforms.runs.run_record import Artifact, RunRecord, digest_of

from .worlds import LATER, model


def test_a_version_in_a_bucket_leads_to_the_log_in_the_bucket(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log is gone, and a file of the version has another content of the same size."""
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "nobody")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        FileSystems.set_options(PipelineOptions([]))
        client = boto3.client("s3")
        client.create_bucket(Bucket="data")

        def put(name: str, text: str) -> Artifact:
            client.put_object(Bucket="data", Key=name, Body=text.encode())
            return Artifact(f"s3://data/{name}", len(text), digest_of(f"s3://data/{name}", len(text)))

        log = put("logs/day1.csv", "a row\n")
        files = model("r1")
        made = [put(f"out/cf/{name}", text) for name, text in files.items()]
        outputs = [Artifact(name, each.bytes, each.digest) for name, each in zip(files, made, strict=True)]
        put("out/cf/run.json", RunRecord("r1", "batch_cf", "0", LATER, {}, [log], outputs=outputs).to_json())
        listed = []
        for name, text in files.items():
            sha256 = hashlib.sha256(text.encode()).hexdigest()
            listed.append({"name": name[6:], "size": len(text), "sha256": sha256})
            client.put_object(Bucket="data", Key=f"models/cf/7/{name[6:]}", Body=text.upper().encode()[: len(text)])
        card = files["model/assets.extra/model_card.json"]
        client.put_object(Bucket="data", Key="models/cf/7/assets.extra/model_card.json", Body=card.encode())
        client.put_object(Bucket="data", Key="models/cf/7/_COMPLETE.json", Body=json.dumps({"files": listed}).encode())
        client.delete_object(Bucket="data", Key="logs/day1.csv")
        assert main(["s3://data/out", "s3://data/models", "--upstream=s3://data/models/cf/7", "--check"]) == 3
    assert capsys.readouterr().out.splitlines() == [
        "version s3://data/models/cf/7  newest",
        "├── ! digest: saved_model.pb has another digest, unlike _COMPLETE.json",
        "└── model s3://data/out/cf/model  2 files, 85 B",
        "    └── run batch_cf s3://data/out/cf  r1",
        "        └── data s3://data/logs/day1.csv  1 file, 6 B  (stale)",
        "            └── ! missing: day1.csv is missing; read before by r1",
    ]
