"""Publishing to a bucket (S3 as moto plays it): a version is there when its _COMPLETE.json is, and not before."""

from __future__ import annotations

import hashlib
import json

import boto3
import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from moto import mock_aws

from transforms.errors import BadInput
from transforms.models import publish_bucket
from transforms.models.manifest import hashed, listed, parse
from transforms.models.publish import publish, rollback, versions

BASE = "s3://models/cf"
FILES = {"saved_model.pb": "graph", "variables/variables.index": "index"}


def at(second):
    return lambda: second * 1_000_000


@pytest.fixture
def bucket(monkeypatch):
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "nobody")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        FileSystems.set_options(PipelineOptions([]))
        client = boto3.client("s3")
        client.create_bucket(Bucket="models")
        yield client


@pytest.fixture
def source(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / "run" / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "run" / "model"


def keys(client):
    return {found["Key"] for found in client.list_objects_v2(Bucket="models").get("Contents", [])}


def text(client, key):
    return client.get_object(Bucket="models", Key=key)["Body"].read().decode()


def test_a_version_lists_name_size_and_digest_of_every_file(bucket, source):
    assert publish(source, BASE, at(100)) == 100
    assert {name: text(bucket, f"cf/100/{name}") for name in FILES} == FILES
    listed = json.loads(text(bucket, "cf/100/_COMPLETE.json"))["files"]
    assert sorted(listed, key=lambda file: file["name"]) == [
        {"name": name, "sha256": hashlib.sha256(content.encode()).hexdigest(), "size": len(content)}
        for name, content in sorted(FILES.items())
    ]


def test_numbers_grow_and_a_rollback_copies_the_model_alone(bucket, source):
    assert [publish(source, BASE, at(second)) for second in (100, 7)] == [100, 101]
    assert rollback(BASE, 100, at(50)) == 102
    assert set(versions(BASE)) == {100, 101, 102}
    listed = json.loads(text(bucket, "cf/102/_COMPLETE.json"))["files"]
    assert {file["name"] for file in listed} == set(FILES)
    with pytest.raises(BadInput, match="has no version 99; versions here: 100, 101, 102"):
        rollback(BASE, 99)


def test_a_publish_that_stops_half_way_is_no_version_and_its_number_is_not_used_again(bucket, source, monkeypatch):
    create = FileSystems.create

    def broken(uri, **options):
        if uri.endswith("_COMPLETE.json"):
            raise OSError("connection lost")
        return create(uri, **options)

    monkeypatch.setattr(FileSystems, "create", broken)
    with pytest.raises(OSError, match="connection lost"):
        publish(source, BASE, at(100))
    assert {f"cf/100/{name}" for name in FILES} < keys(bucket)
    assert versions(BASE) == {}
    monkeypatch.setattr(FileSystems, "create", create)
    assert publish(source, BASE, at(100)) == 101
    assert set(versions(BASE)) == {101}


def test_who_sees_another_claim_takes_the_next_number(bucket, source, monkeypatch):
    """The other publisher's claim arrives between our look at the numbers and our own claim."""
    create = FileSystems.create

    def raced(uri, **options):
        if uri.endswith("/100/_claim-ours"):
            bucket.put_object(Bucket="models", Key="cf/100/_claim-theirs", Body=b"")
        return create(uri, **options)

    monkeypatch.setattr(FileSystems, "create", raced)
    assert publish_bucket.publish_to_store(str(source), BASE, at(100), "ours") == 101


def test_a_model_in_a_bucket_is_published_to_a_folder(bucket, source, tmp_path):
    publish(source, BASE, at(100))
    assert publish(f"{BASE}/100", tmp_path / "cf", at(200)) == 200
    published = tmp_path / "cf" / "200"
    assert {file.name: (published / file.name).read_text() for file in listed(published)} == FILES
    assert {file.name for file in hashed(published)} == set(FILES)
    assert parse((published / "_COMPLETE.json").read_bytes(), "") == hashed(published)


def test_an_empty_graph_is_not_published_to_a_bucket(bucket, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(BadInput, match=r"saved_model\.pb is empty"):
        publish(tmp_path, BASE)
    assert versions(BASE) == {}


def test_a_bucket_without_a_model_is_not_published(bucket, tmp_path):
    for target in (BASE, str(tmp_path / "cf")):
        with pytest.raises(BadInput, match=r"holds no saved_model\.pb"):
            publish("s3://models/nothing", target)
    assert keys(bucket) == set()
