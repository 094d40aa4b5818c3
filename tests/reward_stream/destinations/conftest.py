"""Every store that snapshots can go to, empty. `place` runs a test on each of them."""

from __future__ import annotations

import uuid

import pytest
from apache_beam.internal.gcp.auth import _Credentials
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from tests.conftest import CI
from tests.reward_stream.destinations import gcs_stub, places
from tests.third_party import environments, processes


@pytest.fixture(scope="session")
def moto():
    with places.moto_running() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def google():
    with gcs_stub.running() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def google_key(google, tmp_path_factory):
    """A service account's key file whose tokens come from the stub."""
    path = tmp_path_factory.mktemp("google") / "key.json"
    path.write_text(gcs_stub.service_account(google))
    return str(path)


@pytest.fixture(scope="session")
def redis_address(tmp_path_factory):
    if places.redis_server() is None:
        say = pytest.fail if CI else pytest.skip
        say(f"redis-server is not installed; run {environments.INSTALL}, or apt-get install redis-server")
    with places.redis_running(tmp_path_factory.mktemp("redis"), processes.free_port()) as address:
        yield address


@pytest.fixture
def surroundings(monkeypatch):
    """Credentials of nobody, and no options of another test's pipeline."""
    for name, value in places.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "GOOGLE_APPLICATION_CREDENTIALS", "REDIS_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(FileSystems, "_pipeline_options", PipelineOptions([]))
    return monkeypatch


@pytest.fixture(params=["directory", "s3", "gcs", "dynamodb", "redis"])
def place(request, surroundings, tmp_path):
    unique = f"t{uuid.uuid4().hex[:12]}"
    if request.param == "directory":
        return places.directory(tmp_path / "snapshots")
    if request.param == "redis":
        return places.redis_prefix(request.getfixturevalue("redis_address"), unique)
    if request.param == "gcs":
        surroundings.setenv("STORAGE_EMULATOR_HOST", request.getfixturevalue("google"))
        surroundings.setenv("GOOGLE_APPLICATION_CREDENTIALS", request.getfixturevalue("google_key"))
        surroundings.setattr(_Credentials, "_credentials_init", False)  # once found, Beam keeps them for the process
        surroundings.setattr(_Credentials, "_credentials", None)
        return places.gcs(gcs_stub.Handler.objects, unique)
    endpoint = request.getfixturevalue("moto")
    surroundings.setenv("AWS_ENDPOINT_URL", endpoint)
    return (places.s3 if request.param == "s3" else places.dynamodb)(endpoint, unique)
