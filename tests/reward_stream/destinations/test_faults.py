"""Stores that are down, damaged or half written, and addresses that mean nothing: what is said, and what goes on."""

from __future__ import annotations

import hashlib
import json
import random
import types
import uuid

import boto3
import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.reward_stream.destinations import dynamodb
from pipelines.reward_stream.destinations.dynamodb import PART_BYTES
from pipelines.reward_stream.destinations.factory import check, open_destination
from pipelines.reward_stream.destinations.interface import VersionExists, publish
from serving_client.snapshots.keys import escape, unescape
from serving_client.snapshots.published import Published
from tests.reward_stream.destinations import places
from tests.third_party import processes
from transforms import extras
from transforms.errors import BadInput, BadUsage, RecbeamError

FOREVER_US = 2**52
BIG = random.Random(7).randbytes(3 * PART_BYTES)


def document(version: int) -> bytes:
    return b"version %d" % version


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("", "--snapshots is empty; use a directory"),
        ("http://x/y", "http://x/y: http:// is not supported for snapshots; use a directory, s3://"),
        ("file:///tmp/x", "file:// is not supported for snapshots"),
        ("s3://", "the bucket name is missing; write s3://BUCKET/PREFIX"),
        ("gs:///x", "the bucket name is missing; write gs://BUCKET/PREFIX"),
        ("dynamodb://", "names no table; write dynamodb://TABLE"),
        ("dynamodb://a b", "names no table"),
        ("dynamodb://table/x", "names no table"),
        ("dynamodb://table?zone=x", "'zone' is not known; write dynamodb://TABLE?region="),
        ("redis://host:6379", "names no server or no prefix; write redis://HOST:PORT/PREFIX"),
        ("redis://:6379/x", "names no server"),
        ("redis://host:port/x", "names no server"),
        ("redis://host:99999/x", "names no server"),
        ("redis://user:secret@host:1/{x}", "redis://host:1/{x}: a prefix is plain text"),
    ],
)
def test_an_address_that_means_nothing_is_one_sentence(uri, says):
    (problem,) = check(uri)
    assert says in problem
    assert "secret" not in problem
    with pytest.raises(BadUsage) as caught:
        open_destination(uri)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    "uri",
    [
        "snapshots",
        "/a/b/",
        "s3://b",
        "s3://b/p/q/",
        "gs://b/p",
        "redis://h/p/q",
        "rediss://u:pw@h:1/p",
        "dynamodb://table?region=eu-west-1",
        "dynamodb://table?endpoint=http://localhost:8000",
    ],
)
def test_an_address_is_checked_without_a_connection(uri):
    assert check(uri) == []


@pytest.mark.parametrize(("uri", "extra"), [("dynamodb://table", "dynamodb"), ("redis://h/p", "redis")])
def test_a_missing_client_library_is_named_at_once(uri, extra, monkeypatch):
    def absent(module: str) -> None:
        raise ModuleNotFoundError(f"no module {module}", name=module)

    monkeypatch.setattr(extras.importlib, "import_module", absent)
    with pytest.raises(extras.MissingExtra, match=rf"pip install 'recbeam\[{extra}\]'"):
        open_destination(uri)


def test_s3_is_reached_through_the_flags_of_beam(moto, surroundings):
    place = places.s3(moto, f"b{uuid.uuid4().hex[:12]}")
    surroundings.delenv("AWS_DEFAULT_REGION")
    flags = [f"--s3_endpoint_url={moto}", "--s3_region_name=us-east-1"]
    FileSystems.set_options(PipelineOptions([*flags, "--s3_access_key_id=k", "--s3_secret_access_key=s"]))
    destination = open_destination(place.uri)
    assert publish(destination, "home_row", document) == 1
    assert destination.latest("home_row") == Published(1, b"version 1")


def test_a_destination_that_was_down_works_again(surroundings, tmp_path):
    """Nothing listens at first; the same object is used after the servers have started."""
    aws, redis_port = processes.free_port(), processes.free_port()
    bucket, table = (f"t{uuid.uuid4().hex[:12]}" for _ in range(2))
    surroundings.setenv("AWS_MAX_ATTEMPTS", "1")
    surroundings.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{aws}")
    (tmp_path / "taken").write_text("a file")
    uris = [f"s3://{bucket}/live", f"dynamodb://{table}", str(tmp_path / "taken"), f"redis://127.0.0.1:{redis_port}/p"]
    if places.redis_server() is None:
        uris.pop()
    down = [open_destination(uri) for uri in uris]
    for destination in down:
        for call in (
            lambda one=destination: publish(one, "home_row", document),
            lambda one=destination: one.create("home_row", 1, b"x"),
        ):
            with pytest.raises(Exception, match=r"Could not connect|Connection refused|[Nn]ot a directory|is a file"):
                call()
    (tmp_path / "taken").unlink()
    with places.moto_running(aws) as endpoint:
        places.s3(endpoint, bucket)
        places.dynamodb(endpoint, table)
        for destination in down[:3]:
            assert publish(destination, "home_row", document) == 1
            assert destination.latest("home_row") == Published(1, b"version 1")
    for destination in down[3:]:
        with places.redis_running(tmp_path, redis_port):
            assert publish(destination, "home_row", document) == 1
        with pytest.raises(Exception, match="Connection"):
            destination.latest("home_row")
        with places.redis_running(tmp_path, redis_port):  # it kept nothing
            assert publish(destination, "home_row", document) == 1


def test_a_directory_holds_plain_files_and_a_pointer(tmp_path):
    destination = open_destination(str(tmp_path / "live"))
    publish(destination, "home_row", document)
    folder = tmp_path / "live" / "home_row"
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "1.json", "LATEST"]
    assert (folder / "1.json").read_bytes() == b"version 1"
    sha256 = hashlib.sha256(b"version 1").hexdigest()
    assert (folder / "LATEST").read_text() == f'{{"sha256":"{sha256}","version":1}}'
    assert (folder / "1.json").stat().st_mode & 0o444 == 0o444, "readers may be other users"


def test_what_a_killed_writer_left_in_a_directory_is_invisible_and_pruned(tmp_path):
    destination = open_destination(str(tmp_path))
    publish(destination, "home_row", document)
    for name in (".partial-0123456789ab", "007.json", "8.json.bak", "notes.txt"):
        (tmp_path / "home_row" / name).write_text("half")
    (tmp_path / "empty").mkdir()
    assert destination.highest("home_row") == 1
    assert destination.names() == ["home_row"]
    assert destination.prune("home_row", 0) == 0
    assert (tmp_path / "home_row" / ".partial-0123456789ab").exists()
    assert destination.prune("home_row", FOREVER_US) == 0
    left = {path.name for path in (tmp_path / "home_row").iterdir()}
    assert left == {".lock", "1.json", "LATEST", "007.json", "8.json.bak", "notes.txt"}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"version": "1", "sha256": "x"}', '{"version": true}', "\xff"]
)
def test_a_damaged_pointer_is_named(tmp_path, text):
    destination = open_destination(str(tmp_path))
    publish(destination, "home_row", document)
    (tmp_path / "home_row" / "LATEST").write_bytes(text.encode("latin-1"))
    for call in (destination.latest, destination.highest, lambda name: destination.point(name, 2, "x")):
        with pytest.raises(ValueError, match=r"home_row/LATEST: is not .*; restore it, or remove it"):
            call("home_row")
    (tmp_path / "home_row" / "LATEST").unlink()
    assert publish(destination, "home_row", document) == 2


def test_a_name_too_long_for_a_folder_is_refused_with_a_sentence(tmp_path):
    destination = open_destination(str(tmp_path))
    assert publish(destination, "é" * 127, document) == 1
    with pytest.raises(BadInput, match="takes 256 bytes as a folder's name and may take 255; shorten it"):
        publish(destination, "é" * 128, document)
    with pytest.raises(ValueError, match="an empty name"):
        publish(destination, "", document)


def test_escaping_is_undone_and_keeps_plain_ids_plain():
    for name in ("home_row", "Ωλ:-é~日本", "a.b", "_stream"):
        assert escape(name) == name
    for name in ("..", ".", "a/b", "a%2Fb", "{a}", "x y", "\t"):
        assert not set(escape(name)) & set("/ {}\t")
        assert not escape(name).startswith(".")
        assert unescape(escape(name)) == name


def test_a_put_that_s3_repeats_after_a_lost_answer_is_no_other_writer(moto, surroundings):
    """The client's retry meets the object that its first try wrote."""
    surroundings.setenv("AWS_ENDPOINT_URL", moto)
    destination = open_destination(places.s3(moto, f"b{uuid.uuid4().hex[:12]}").uri)
    client = destination._folder._s3
    put = client.put_object

    def twice(**arguments):
        put(**arguments)
        return put(**arguments)

    surroundings.setattr(client, "put_object", twice)
    assert [publish(destination, "home_row", document) for _ in range(2)] == [1, 2]
    assert destination.latest("home_row") == Published(2, b"version 2")
    with pytest.raises(VersionExists):
        open_destination(destination._uri).create("home_row", 2, b"version 2")


@pytest.fixture
def table(moto, surroundings):
    surroundings.setenv("AWS_ENDPOINT_URL", moto)
    place = places.dynamodb(moto, f"t{uuid.uuid4().hex[:12]}")
    resource = boto3.session.Session().resource("dynamodb")
    yield resource.Table(place.uri.removeprefix("dynamodb://"))
    resource.meta.client.close()


def stored(table, prefix):
    pages = table.meta.client.get_paginator("scan").paginate(TableName=table.name)
    return sorted(item["item"] for page in pages for item in page["Items"] if item["item"].startswith(prefix))


def test_a_put_that_dynamodb_repeats_is_no_other_writer(table, monkeypatch):
    destination = open_destination(f"dynamodb://{table.name}")
    put = destination._put

    def twice(*arguments):
        put(*arguments)
        return put(*arguments)

    monkeypatch.setattr(destination, "_put", twice)
    assert publish(destination, "home_row", lambda version: BIG) == 1
    assert destination.latest("home_row") == Published(1, BIG)


def test_chunks_of_two_writers_of_one_version_do_not_mix(table):
    """The slower one has written its chunks when the faster one writes the head; it takes them away again."""
    one, two = (open_destination(f"dynamodb://{table.name}") for _ in range(2))
    put = one._put

    def overtaken(*arguments):
        two.create("home_row", 1, BIG[::-1])
        return put(*arguments)

    one._put = overtaken
    with pytest.raises(VersionExists):
        one.create("home_row", 1, BIG)
    two.point("home_row", 1, hashlib.sha256(BIG[::-1]).hexdigest())
    assert one.latest("home_row") == Published(1, BIG[::-1])
    assert len(stored(table, "chunk/")) == 3


@pytest.mark.parametrize("abandoned", ["0" * 12, "f" * 12])
def test_chunks_without_a_head_are_no_version_and_pruned_by_age(table, monkeypatch, abandoned):
    """Attempts at one version are in no order of time: the abandoned one's chunks come before the others', or after."""
    now, attempts = [1000], iter([abandoned, "1" * 12, "2" * 12, "3" * 12])
    fixed = types.SimpleNamespace(uuid4=lambda: types.SimpleNamespace(hex=next(attempts)))
    monkeypatch.setattr(dynamodb, "uuid", fixed)
    destination = open_destination(f"dynamodb://{table.name}", lambda: now[0])

    def killed(*arguments):
        raise KeyboardInterrupt

    destination._put, put = killed, destination._put
    with pytest.raises(KeyboardInterrupt):
        publish(destination, "home_row", lambda version: BIG)
    destination._put = put
    assert destination.highest("home_row") == 0
    for now[0] in (2000, 3000, 4000):
        publish(destination, "home_row", lambda version: BIG)
    assert len(stored(table, "chunk/")) == 12
    assert destination.prune("home_row", 2000) == 0
    assert len(stored(table, "chunk/")) == 9
    assert destination.prune("home_row", 3000) == 1
    assert stored(table, "head/") == ["head/000000000000000002", "head/000000000000000003"]
    assert len(stored(table, "chunk/")) == 6
    assert destination.prune("home_row", FOREVER_US) == 1
    assert destination.latest("home_row") == Published(3, BIG)


def test_a_chunk_that_is_lost_or_changed_is_noticed(table):
    destination = open_destination(f"dynamodb://{table.name}")
    publish(destination, "home_row", lambda version: BIG)
    last = stored(table, "chunk/")[-1]
    table.delete_item(Key={"name": "home_row", "item": last})
    with pytest.raises(ValueError, match="home_row version 1: cannot be unpacked"):
        destination.latest("home_row")


def test_a_table_that_is_not_there_and_a_region_that_is_not_known_are_named(table, surroundings):
    with pytest.raises(RecbeamError, match=r"no such table here; create it with the string keys name .* and item"):
        publish(open_destination("dynamodb://absent"), "home_row", document)
    surroundings.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(BadUsage, match=r"no region is known; add \?region=REGION"):
        open_destination("dynamodb://absent").latest("home_row")
    uri = f"dynamodb://{table.name}?region=us-east-1"
    assert open_destination(uri).latest("home_row") is None


def test_redis_drops_versions_by_the_clock_of_their_writer(redis_address, surroundings):
    now = [0]
    destination = open_destination(f"redis://{redis_address}/{uuid.uuid4().hex}", lambda: now[0])
    for now[0] in (1_700_000_000_000_001, 1_700_000_000_000_002, 1_700_000_000_000_003):
        publish(destination, "home_row", document)
    assert destination.prune("home_row", 1_700_000_000_000_001) == 0
    assert destination.prune("home_row", 1_700_000_000_000_002) == 1
    key = destination._prefix.key("home_row", "")
    keys = {name.decode().removeprefix(key) for name in destination._prefix.client.scan_iter(f"{key}*")}
    assert keys == {"2", "3", "LATEST", "versions", "written"}
    assert json.loads(destination._prefix.client.get(f"{key}LATEST"))["version"] == 3
